package load

import (
	"fmt"
	"strconv"
	"strings"
)

// names makes the topics and filters of a scenario.
type names struct {
	Scenario

	run, user string
}

func (s Scenario) names(run, user string) names { return names{s, run, user} }

// pattern is what topics are made of.
func (n names) pattern() string {
	if n.Topics != "" {
		return n.Topics
	}
	switch n.Shape {
	case Fanout:
		return "bench/fan/out/topic"
	case Fanin:
		return "bench/in/%i"
	case Share:
		return "bench/share/%i"
	case Alone:
		return "bench/pub/%i"
	default:
		return "bench/pair/%i"
	}
}

// varies says whether a pattern gives each publisher a topic of its own.
func varies(pattern string) bool {
	return strings.Contains(pattern, "%i") || strings.Contains(pattern, "%c")
}

// topic is the topic of one publisher.
func (n names) topic(client string, publisher int) string {
	return strings.NewReplacer("%i", strconv.Itoa(n.first+publisher), "%c", client, "%u", n.user, "%r", n.run, "%%", "%").Replace(n.pattern())
}

// filter covers the topics of all publishers: + stands for a level that
// varies, # for one that ends the topic.
func (n names) filter() string {
	levels := strings.Split(n.pattern(), "/")
	for i, level := range levels {
		if !varies(level) {
			continue
		}
		levels[i] = "+"
		if i == len(levels)-1 {
			levels[i] = "#"
		}
	}
	n.Topics = strings.Join(levels, "/")
	return n.topic("", 0)
}

// filters are what a subscriber subscribes to; publisher is the client id of
// its partner in a pair.
func (n names) filters(subscriber int, publisher string) []string {
	switch n.Shape {
	case Pairs:
		return []string{n.topic(publisher, subscriber)}
	case Share:
		return []string{"$share/bench" + n.run + "/" + n.filter()}
	case Wild:
		return n.wild(subscriber, n.Subscribers, wildFilter)
	default:
		return []string{n.filter()}
	}
}

// topics are what a publisher publishes to, in turn.
func (n names) topics(client string, publisher int) []string {
	if n.Shape == Wild {
		all := n.wild(publisher, n.Publishers, wildTopic)
		if len(all) > 0 {
			return all
		}
		// More publishers than filters: they meet at those of their subscriber.
		return n.wild(publisher%n.Subscribers, n.Subscribers, wildTopic)
	}
	return []string{n.topic(client, publisher)}
}

// wild lists every filter whose number is first modulo step: those of a
// subscriber, and, as publishers are a multiple of subscribers, a part of them
// for each of its publishers.
func (n names) wild(first, step int, form func(run string, i int) string) []string {
	var all []string
	for i := first; i < n.Filters; i += step {
		all = append(all, form(n.run, i))
	}
	return all
}

// wildFilter is filter number i: of each two, one has its wildcard in the
// middle and one at the end. No topic matches two of them.
func wildFilter(run string, i int) string {
	if i%2 == 0 {
		return fmt.Sprintf("bench/%s/wild/%d/+/state", run, i)
	}
	return fmt.Sprintf("bench/%s/wild/%d/#", run, i)
}

// wildTopic is a topic that only filter number i matches.
func wildTopic(run string, i int) string {
	return fmt.Sprintf("bench/%s/wild/%d/a/state", run, i)
}
