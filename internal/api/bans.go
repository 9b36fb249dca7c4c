package api

import (
	"encoding/json"
	"io"
	"net/http"

	"github.com/fantail-mqtt/fantail/internal/ban"
)

// Bans is what the API asks of the list of bans.
type Bans interface {
	All() []ban.Ban
	// Add bans somebody, and says how many clients were disconnected for it. Its
	// error is what is wrong with the ban.
	Add(b ban.Ban) (kept ban.Ban, disconnected int, err error)
	// Remove says whether there was such a ban.
	Remove(id string) (was bool, err error)
}

// BansPath is that of the bans; behind it comes the id of one.
const BansPath = "/api/v1/bans"

// Banned is the answer to a ban that was added.
type Banned struct {
	ban.Ban
	Disconnected int `json:"disconnected"`
}

// bansAPI answers what is asked of the bans.
type bansAPI struct{ bans Bans }

func (a *bansAPI) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+BansPath, a.list)
	mux.HandleFunc("POST "+BansPath, a.add)
	mux.HandleFunc("DELETE "+BansPath+"/{id}", a.remove)
}

func (a *bansAPI) list(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, a.bans.All())
}

// maxBan is the longest ban in bytes: its client id and user name have 64 KiB each.
const maxBan = 256 << 10

func (a *bansAPI) add(w http.ResponseWriter, r *http.Request) {
	d := json.NewDecoder(io.LimitReader(r.Body, maxBan))
	d.DisallowUnknownFields()
	var b ban.Ban
	if err := d.Decode(&b); err != nil {
		refuse(w, http.StatusBadRequest, "this is no ban: "+err.Error())
		return
	}
	kept, n, err := a.bans.Add(b)
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	answer(w, http.StatusOK, Banned{kept, n})
}

func (a *bansAPI) remove(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	was, err := a.bans.Remove(id)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	if !was {
		refuse(w, http.StatusNotFound, "there is no ban "+id+": fantail ctl ban list shows all of them")
		return
	}
	answer(w, http.StatusOK, struct {
		ID string `json:"id"`
	}{id})
}
