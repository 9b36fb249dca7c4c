package load

import (
	"strings"
	"testing"
	"time"
)

func pairs(qos byte) Scenario {
	return Scenario{Shape: Pairs, Publishers: 3, Subscribers: 3, QoS: qos, Window: 8, Sizes: []int{128}}
}

func TestValidate(t *testing.T) {
	cases := map[string]struct {
		change func(*Scenario)
		want   string // part of the error; none if empty
	}{
		"a good one":                {func(*Scenario) {}, ""},
		"an unknown shape":          {func(s *Scenario) { s.Shape = 9 }, "shape 9"},
		"nobody publishes":          {func(s *Scenario) { s.Publishers = 0 }, "0 publishers"},
		"pairs that do not pair":    {func(s *Scenario) { s.Publishers = 2 }, "pairs of 2"},
		"a QoS that is none":        {func(s *Scenario) { s.QoS = 3 }, "QoS 3"},
		"a closed loop, no window":  {func(s *Scenario) { s.Window = 0 }, "window 0"},
		"too large a window":        {func(s *Scenario) { s.Window = 65536 }, "window 65536"},
		"an open loop needs none":   {func(s *Scenario) { s.Window, s.Rate = 0, 10 }, ""},
		"threads for all pairs":     {func(s *Scenario) { s.Threads = 3 }, ""},
		"more threads than pairs":   {func(s *Scenario) { s.Threads = 4 }, "4 threads"},
		"threads that share a flow": {func(s *Scenario) { s.Shape, s.Threads = Fanin, 2 }, "one thread"},
		"stalled ones beside none":  {func(s *Scenario) { s.Shape, s.Subscribers, s.Stalled = Alone, 0, 3 }, "3 stalled beside 0"},
		"fewer than none stall":     {func(s *Scenario) { s.Stalled = -1 }, "-1 stalled"},
		"a rate below 0":            {func(s *Scenario) { s.Rate = -1 }, "rate -1"},
		"no room for the stamp":     {func(s *Scenario) { s.Sizes = []int{64, 23} }, "payload of 23"},
		"a payload out of reason":   {func(s *Scenario) { s.Sizes = []int{1 << 30} }, "payload of 1073741824"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			sc := pairs(1)
			c.change(&sc)
			err := sc.Validate()
			if (err == nil) != (c.want == "") {
				t.Fatalf("err = %v, want %q", err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestNames(t *testing.T) {
	closed := Scenario{Shape: Fanin, QoS: 1}
	if got := closed.Name(); got != "fanin-q1-closed" {
		t.Error(got)
	}
	open := Scenario{Shape: Fanout, Rate: 10_000}
	if got := open.Name(); got != "fanout-q0-10000" {
		t.Error(got)
	}
}

func TestFigures(t *testing.T) {
	r := Result{Received: 500_000, BrokerCPU: 5 * time.Second, OwnCPU: time.Second}
	if got := r.CPUPerMillion(); got != 10 {
		t.Errorf("CPUPerMillion() = %g, want 10", got)
	}
	if got := r.OwnPerMillion(); got != 2 {
		t.Errorf("OwnPerMillion() = %g, want 2", got)
	}
	if got := new(Result).CPUPerMillion(); got != 0 {
		t.Errorf("CPUPerMillion() of nothing = %g, want 0", got)
	}
}

func TestFaultsAreTold(t *testing.T) {
	f := Faults{Lost: 2, Disordered: 1, Trouble: "stalled"}
	if got, want := f.String(), "2 lost, 1 out of order, stalled"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if (Faults{}).Any() || !f.Any() {
		t.Error("Any does not tell faults from none")
	}
}
