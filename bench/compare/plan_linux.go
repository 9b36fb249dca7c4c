package main

import (
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
	all := make([]load.Scenario, 0, 2*len(base))
	for _, sc := range base {
		sc.Sizes = []int{payload}
		all = append(all, sc)
	}
	for _, sc := range all[:len(base)] {
		if rate == 0 {
			break
		}
		sc.Rate, sc.Tick = rate, tick
		all = append(all, sc)
	}
	for _, sc := range all {
		if err := sc.Validate(); err != nil {
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
