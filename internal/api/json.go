package api

import (
	"encoding/json"
	"net/http"
	"strings"
)

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	_ = e.Encode(body) // the client has gone
}

// refuse answers with a sentence.
func refuse(w http.ResponseWriter, status int, sentence string) {
	answer(w, status, Problem{Error: sentence})
}

// oneLine is err as a header may have it.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
