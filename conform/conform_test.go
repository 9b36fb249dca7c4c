package conform

import (
	"os"
	"strings"
	"testing"
)

// Every statement that binds a server has a check, every check a statement.
func TestEveryStatementHasACheck(t *testing.T) {
	statements, err := Statements()
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]Statement{}
	for _, s := range statements {
		key := s.Version + " " + s.ID
		if _, twice := listed[key]; twice {
			t.Errorf("%s is in the list twice", key)
		}
		listed[key] = s
	}
	checked := map[string]bool{}
	for _, c := range Checks() {
		key := c.Version + " " + c.ID + c.Name
		if checked[key] {
			t.Errorf("%s has two checks", key)
		}
		checked[key] = true
		if _, known := listed[key]; c.ID != "" && !known {
			t.Errorf("%s has a check and is not in the list", key)
		}
		if c.What == "" || (c.Run == nil) == (c.Unseen == "") || (c.ID == "") == (c.Name == "") {
			t.Errorf("%s: a check needs What, either Run or Unseen, and either ID or Name", key)
		}
	}
	for key, s := range listed {
		if s.BindsServer() && !checked[key] {
			t.Errorf("%s has no check: %s", key, s.Says)
		}
	}
}

// The list has the counts it had when it was drawn up.
func TestListIsWhole(t *testing.T) {
	statements, err := Statements()
	if err != nil {
		t.Fatal(err)
	}
	binding := 0
	for _, s := range statements {
		if s.BindsServer() {
			binding++
		}
	}
	if len(statements) != 392 || binding != 314 {
		t.Errorf("%d statements, %d of them for servers; want 392 and 314", len(statements), binding)
	}
}

// The broker passes every check. CONFORM_ADDR and CONFORM_WS name another
// broker than ours; it need not offer what the standard leaves to it.
func TestConform(t *testing.T) {
	o := Options{Addr: os.Getenv("CONFORM_ADDR"), WS: os.Getenv("CONFORM_WS")}
	if o.Addr == "" {
		o = startBroker(t)
	}
	results, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		t.Run(strings.ReplaceAll(r.Name(), " ", "/"), func(t *testing.T) {
			for _, f := range r.Failures {
				t.Errorf("%s\n%s", r.What, f)
			}
		})
	}
}
