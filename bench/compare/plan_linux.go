package main

import (
	"slices"
	"strings"
	"time"

	"github.com/fantail-mqtt/fantail/internal/load"
)

const idleName = "idle"

// plan lists the scenarios: every shape and QoS, closed loop first. The sizes
// and windows are those that the project's goals were set with.
func plan(rate float64, tick time.Duration, payload int) ([]load.Scenario, error) {
	base := []load.Scenario{
		{Shape: load.Pairs, Publishers: 50, Subscribers: 50, QoS: 0, Window: 64},
		{Shape: load.Pairs, Publishers: 50, Subscribers: 50, QoS: 1, Window: 32},
		{Shape: load.Pairs, Publishers: 50, Subscribers: 50, QoS: 2, Window: 32},
		{Shape: load.Fanout, Publishers: 1, Subscribers: 200, QoS: 0, Window: 16},
		{Shape: load.Fanout, Publishers: 1, Subscribers: 200, QoS: 1, Window: 16},
		{Shape: load.Fanin, Publishers: 500, Subscribers: 2, QoS: 0, Window: 4},
		{Shape: load.Fanin, Publishers: 500, Subscribers: 2, QoS: 1, Window: 4},
	}
	saturated := []load.Scenario{
		{Shape: load.Share, Publishers: 50, Subscribers: 10, QoS: 1, Window: 32},
		{Shape: load.Wild, Publishers: 100, Subscribers: 100, QoS: 0, Window: 16, Filters: 100_000},
	}
	all := slices.Concat(base, saturated)
	if rate > 0 {
		for _, sc := range base {
			sc.Rate, sc.Tick = rate, tick
			all = append(all, sc)
		}
	}
	for i := range all {
		all[i].Sizes = []int{payload}
		if err := all[i].Validate(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// matches says whether word is a name or the first words of it.
func matches(word, name string) bool {
	rest, ok := strings.CutPrefix(name, word)
	return ok && word != "" && (rest == "" || rest[0] == '-')
}

func names(all []load.Scenario) string {
	list := make([]string, len(all))
	for i, sc := range all {
		list[i] = sc.Name()
	}
	return strings.Join(list, ", ")
}
