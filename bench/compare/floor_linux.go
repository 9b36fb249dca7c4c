package main

import (
	"fmt"
	"slices"

	"github.com/fantail-mqtt/fantail/bench/broker"
	"github.com/fantail-mqtt/fantail/internal/load"
)

const (
	fantailName = "fantail"
	floorName   = "floor"
	floorIs     = "no broker: the least that a relay of messages can do, bench/floor"
)

// fits says whether the floor can do a scenario. It knows neither QoS 2 nor
// shared groups, and compares its filters one by one.
func fits(sc load.Scenario) bool {
	return sc.QoS < 2 && sc.Shape != load.Share && sc.Shape != load.Wild
}

// under lists who is put under a scenario of traffic: the brokers, and below
// them the floor where it can do it.
func (o *options) under(sc load.Scenario) []broker.Kind {
	if o.floor == nil || !fits(sc) {
		return o.brokers
	}
	return append(slices.Clone(o.brokers), *o.floor)
}

// columns are the names of the brokers, and of the floor if it is measured.
func (r *report) columns() []string {
	if !r.floor {
		return r.brokers
	}
	return append(slices.Clone(r.brokers), floorName)
}

// above says whether there is a ratio of Fantail to the floor to show.
func (r *report) above() bool { return r.floor && slices.Contains(r.brokers, fantailName) }

// heads are those of the ratios in the first table.
func (r *report) heads() []string {
	heads := make([]string, 0, len(r.brokers)+1)
	for _, name := range r.others() {
		heads = append(heads, fmt.Sprintf("%s ÷ %s", name, r.against))
	}
	if r.above() {
		heads = append(heads, fantailName+" ÷ "+floorName)
	}
	return heads
}

// ratios are what stands below the heads.
func (r *report) ratios(t *loadTable) []string {
	cells := make([]string, 0, len(r.brokers)+1)
	for _, name := range r.others() {
		cells = append(cells, t.ratio(name, r.against))
	}
	if r.above() {
		cells = append(cells, t.ratio(fantailName, floorName))
	}
	return cells
}
