package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/fantail-mqtt/fantail/internal/access"
)

// ExplainPath is where a decision is asked for.
const ExplainPath = "/api/v1/explain"

// Question is what a client would do, for the broker to say whether it may.
type Question struct {
	// Action is connect, publish, subscribe or receive.
	Action   string `json:"action"`
	Client   string `json:"client,omitempty"`
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	Address  string `json:"address,omitempty"`  // of the client; empty: 127.0.0.1
	Listener string `json:"listener,omitempty"` // URL
	Topic    string `json:"topic,omitempty"`    // or filter
	QoS      byte   `json:"qos,omitempty"`
	Retain   bool   `json:"retain,omitempty"`
}

// Explained is a decision with its reasons.
type Explained struct {
	Allowed bool   `json:"allowed"`
	By      string `json:"by"` // the step or the rule that decided
	Why     string `json:"why"`
	Do      string `json:"do,omitempty"`
	// Hears is what the client is told of a refusal.
	Hears string `json:"hears,omitempty"`
	// Connected says that it is about the client that is connected by this id.
	Connected bool        `json:"connected,omitempty"`
	Steps     []StepTaken `json:"steps,omitempty"` // of the authentication
	// Limits are the rates that hold for what the client publishes.
	Limits []string `json:"limits,omitempty"`
	// Access is what the access rules say.
	Access *access.Explanation `json:"access,omitempty"`
}

// StepTaken is what one step of the authentication said.
type StepTaken struct {
	Step    string  `json:"step"`
	Verdict string  `json:"verdict"` // allow, deny or ignore
	Why     string  `json:"why,omitempty"`
	Do      string  `json:"do,omitempty"`
	Took    float64 `json:"took"` // seconds
}

// maxBody bounds what a request may hold.
const maxBody = 1 << 20

// explainer answers questions. The error is the caller's mistake.
type explainer func(ctx context.Context, q *Question) (*Explained, error)

func (f explainer) routes(mux *http.ServeMux) {
	mux.HandleFunc("POST "+ExplainPath, func(w http.ResponseWriter, r *http.Request) {
		var q Question
		if err := read(r, &q); err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
		e, err := f(r.Context(), &q)
		if err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
		answer(w, http.StatusOK, e)
	})
}

// read takes in the JSON of a request, of which every key has to be known.
func read(r *http.Request, into any) error {
	d := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("the request is not as it should be: %w", err)
	}
	return nil
}
