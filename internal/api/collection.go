package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/fantail-mqtt/fantail/internal/managed"
)

// The paths of what is managed at run time. One thing is behind the path and a
// slash, its name percent-encoded but for slashes. What an export has besides,
// the passwords' hashes and the devices' keys, is for the control socket alone.
const (
	UsersPath         = "/api/v1/users"
	DevicesPath       = "/api/v1/devices"
	ExportUsersPath   = "/api/v1/export/users"
	ExportDevicesPath = "/api/v1/export/devices"
)

// Collection is things of one kind that are managed at run time. An error of
// package managed tells what is wrong with a request; any other is a failure.
type Collection interface {
	// List are up to n things with names behind another, in their order, as they
	// may be shown; and Export with what is secret.
	List(after string, n int) (list []any, more bool)
	Export(after string, n int) (list []any, more bool)
	Show(name string) (any, error)
	// Put makes a thing what body says; if fresh, it may not be there yet.
	Put(ctx context.Context, name string, body []byte, fresh bool) (added bool, err error)
	// Patch changes what body says of a thing.
	Patch(ctx context.Context, name string, body []byte) error
	Drop(ctx context.Context, name string) error
	// Import puts in several things; those that are there are replaced or refused.
	Import(ctx context.Context, list []json.RawMessage, replace bool) (managed.Report, error)
}

// Page is a part of a collection.
type Page struct {
	List []any `json:"list"`
	// Next is what to give as after for the next page; empty: this is the last.
	Next string `json:"next,omitempty"`
}

// Import is what is posted to a collection.
type Import struct {
	List []json.RawMessage `json:"list"`
	// Replace what is there already.
	Replace bool `json:"replace"`
}

const (
	defaultPage = 100
	maxPage     = 1000
	maxThing    = 1 << 20 // bytes of a request about one thing
	maxImport   = 16 << 20
)

// collection serves one.
type collection struct{ Collection }

func (c collection) routes(mux *http.ServeMux, path, export string) {
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { c.page(w, r, c.List) })
	mux.HandleFunc("POST "+path, c.post)
	mux.HandleFunc("GET "+path+"/{name...}", c.get)
	mux.HandleFunc("PUT "+path+"/{name...}", c.put)
	mux.HandleFunc("PATCH "+path+"/{name...}", c.patch)
	mux.HandleFunc("DELETE "+path+"/{name...}", c.drop)
	if export != "" {
		mux.HandleFunc("GET "+export, func(w http.ResponseWriter, r *http.Request) { c.page(w, r, c.Export) })
	}
}

func (c collection) page(w http.ResponseWriter, r *http.Request, list func(string, int) ([]any, bool)) {
	q, n := r.URL.Query(), defaultPage
	for key := range q {
		if key != "after" && key != "limit" {
			refuse(w, http.StatusBadRequest, key+" is no parameter here: there are after and limit")
			return
		}
	}
	if text := q.Get("limit"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > maxPage {
			refuse(w, http.StatusBadRequest, "limit is not between 1 and "+strconv.Itoa(maxPage))
			return
		}
	}
	things, more := list(q.Get("after"), n)
	p := Page{List: things}
	if p.List == nil {
		p.List = []any{}
	}
	if more {
		p.Next = nameOf(things[len(things)-1])
	}
	answer(w, http.StatusOK, p)
}

// nameOf is the field name of a thing as it is shown.
func nameOf(thing any) string {
	var named struct{ Name string }
	text, err := json.Marshal(thing)
	if err == nil {
		err = json.Unmarshal(text, &named)
	}
	if err != nil {
		return ""
	}
	return named.Name
}

func (c collection) get(w http.ResponseWriter, r *http.Request) {
	thing, err := c.Show(r.PathValue("name"))
	if err != nil {
		wrong(w, err)
		return
	}
	answer(w, http.StatusOK, thing)
}

// put makes or replaces; with If-None-Match: * (RFC 9110, section 13.1.2) it only
// makes.
func (c collection) put(w http.ResponseWriter, r *http.Request) {
	body, ok := bodyOf(w, r, maxThing)
	if !ok {
		return
	}
	name := r.PathValue("name")
	added, err := c.Put(r.Context(), name, body, r.Header.Get("If-None-Match") == "*")
	c.changed(w, name, added, err)
}

func (c collection) patch(w http.ResponseWriter, r *http.Request) {
	body, ok := bodyOf(w, r, maxThing)
	if !ok {
		return
	}
	name := r.PathValue("name")
	c.changed(w, name, false, c.Patch(r.Context(), name, body))
}

// changed answers with what a thing is now.
func (c collection) changed(w http.ResponseWriter, name string, added bool, err error) {
	var thing any
	if err == nil {
		thing, err = c.Show(name)
	}
	switch {
	case err != nil:
		wrong(w, err)
	case added:
		answer(w, http.StatusCreated, thing)
	default:
		answer(w, http.StatusOK, thing)
	}
}

func (c collection) drop(w http.ResponseWriter, r *http.Request) {
	if err := c.Drop(r.Context(), r.PathValue("name")); err != nil {
		wrong(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (c collection) post(w http.ResponseWriter, r *http.Request) {
	body, ok := bodyOf(w, r, maxImport)
	if !ok {
		return
	}
	var in Import
	if err := managed.Decode(body, &in); err != nil {
		wrong(w, err)
		return
	}
	report, err := c.Import(r.Context(), in.List, in.Replace)
	if err != nil {
		wrong(w, err)
		return
	}
	answer(w, http.StatusOK, report)
}

func bodyOf(w http.ResponseWriter, r *http.Request, most int64) (body []byte, ok bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		refuse(w, http.StatusRequestEntityTooLarge, "the request has more than "+strconv.FormatInt(most, 10)+" bytes")
		return nil, false
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "the request did not arrive whole")
		return nil, false
	}
	return body, true
}

// wrong answers with what is wrong with a request, or with the broker.
func wrong(w http.ResponseWriter, err error) {
	e, known := errors.AsType[*managed.Error](err)
	switch {
	case !known:
		refuse(w, http.StatusServiceUnavailable, err.Error())
	case e.Kind == managed.Missing:
		refuse(w, http.StatusNotFound, e.Text)
	case e.Kind == managed.Exists:
		refuse(w, http.StatusConflict, e.Text)
	default:
		refuse(w, http.StatusUnprocessableEntity, e.Text)
	}
}
