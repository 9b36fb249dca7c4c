package load

import (
	"strings"
	"testing"
	"time"
)

func TestDurableMistakes(t *testing.T) {
	good := Durable{Pattern: Backlog, Sessions: 2, Messages: 10, Window: 4, Sizes: []int{64}, Limit: time.Second, Patience: time.Second}
	cases := map[string]struct {
		change func(*Durable)
		want   string // empty: none
	}{
		"none":                       {func(*Durable) {}, ""},
		"an unknown pattern":         {func(d *Durable) { d.Pattern = 9 }, "unknown pattern 9"},
		"no sessions":                {func(d *Durable) { d.Sessions = 0 }, "0 sessions"},
		"no messages":                {func(d *Durable) { d.Messages = 0 }, "0 messages"},
		"no limit":                   {func(d *Durable) { d.Limit = 0 }, "limit"},
		"no patience":                {func(d *Durable) { d.Patience = 0 }, "patience"},
		"too small a payload":        {func(d *Durable) { d.Sizes = []int{8} }, "payload of 8"},
		"no window":                  {func(d *Durable) { d.Window = 0 }, "window 0"},
		"a window to many":           {func(d *Durable) { d.Pattern = ToMany }, "window 4"},
		"two sessions for one":       {func(d *Durable) { d.Pattern, d.Window = OneInFlight, 1 }, "2 sessions"},
		"one to many has one window": {func(d *Durable) { d.Pattern, d.Window = ToMany, 1 }, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := good
			c.change(&d)
			err := d.Validate()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestGrowthIsPerMillion(t *testing.T) {
	r := DurableResult{Empty: 1000, Full: 3000}
	if got := r.GrowthPerMillion(); got != 0 {
		t.Errorf("%g without messages", got)
	}
	r.Queue.Messages = 500_000
	if got := r.GrowthPerMillion(); got != 4000 {
		t.Errorf("%g B per million, want 4000", got)
	}
}
