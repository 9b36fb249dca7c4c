package device

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fantail-mqtt/fantail/internal/access"
)

// Kind is the device cloud whose way of connecting a device has.
type Kind string

// The kinds.
const (
	Alibaba  Kind = "alibaba"
	Baidu    Kind = "baidu"
	Adafruit Kind = "adafruit"
)

// form is what the identifiers of a kind look like, in words, and which signs
// each of its parts may hold beside letters and digits. None means something in a
// topic filter or between the parts of a user name.
func (k Kind) form() (words string, signs []string) {
	switch k {
	case Alibaba:
		return "alibaba/productKey/deviceName", []string{"", "_@.:-"}
	case Baidu:
		return "baidu/deviceKey", []string{"_.-"}
	case Adafruit:
		return "adafruit/userName", []string{"_.-"}
	default:
		return "", nil
	}
}

const maxPart = 128

// made says whether a part is of letters, digits and these signs.
func made(part, signs string) bool {
	for _, c := range []byte(part) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune(signs, rune(c)) {
			return false
		}
	}
	return part != "" && len(part) <= maxPart
}

// split checks an identifier and takes it apart: its kind, and what names the
// device in it.
func split(id string) (k Kind, parts []string, err error) {
	kind, rest, _ := strings.Cut(id, "/")
	k = Kind(kind)
	words, signs := k.form()
	if signs == nil {
		return k, nil, fmt.Errorf("%q names no device: write alibaba/productKey/deviceName, baidu/deviceKey or adafruit/userName", id)
	}
	parts = strings.Split(rest, "/")
	fits := len(parts) == len(signs)
	for i := range parts {
		fits = fits && made(parts[i], signs[i])
	}
	if !fits {
		return k, nil, fmt.Errorf("%q is not of the form %s, or holds a character that no such name has", id, words)
	}
	// Its topics would be those of others.
	if k == Alibaba && slices.Contains([]string{"sys", "ota", "ext", "shadow", "broadcast"}, parts[0]) || k == Adafruit && parts[0] == "time" {
		return k, nil, fmt.Errorf("%q stands in topics for something else than a device", parts[0])
	}
	return k, parts, nil
}

const everything = access.Publish | access.Subscribe | access.Receive

// own are the topics of a device in its cloud: those for all actions, and those
// that it only reads.
func own(k Kind, parts []string) (all, read []string) {
	switch k {
	case Alibaba:
		at := parts[0] + "/" + parts[1]
		return []string{
			"/sys/" + at + "/#", "/" + at + "/#", "/ota/device/+/" + at, "/ota/device/+/" + at + "/#", "/shadow/+/" + at,
			"/ext/ntp/" + at + "/#", "/ext/session/" + at + "/#", "/ext/error/" + at,
			"/ext/rrpc/+/" + at + "/#", "/ext/rrpc/+//" + at + "/#",
		}, []string{"/broadcast/" + parts[0] + "/#"}
	case Baidu:
		return []string{"$iot/" + parts[0] + "/#"}, nil
	case Adafruit:
		user := parts[0]
		return []string{user + "/feeds/#", user + "/f/#", user + "/groups/#", user + "/g/#"},
			[]string{user + "/errors", user + "/throttle", "time/#"}
	default:
		return nil, nil
	}
}

// rules are what a device may do: first what was written for it; then, unless it
// is left to the rules for everybody, its own topics and nothing else.
func rules(id string, d *Device) (*access.Rules, error) {
	k, parts, err := split(id)
	if err != nil {
		return nil, err
	}
	var list []access.Rule
	for i := range d.Rules {
		r, problems := d.Rules[i].Rule(fmt.Sprintf("device %s, rule %d", id, i+1))
		for _, p := range problems {
			return nil, fmt.Errorf("rules[%d].%w", i, p)
		}
		list = append(list, r)
	}
	if d.Topics != ByRules {
		all, read := own(k, parts)
		list = append(list, access.Rule{
			ID: "the device's own topics", Effect: access.Allow, Actions: everything, Topics: all, Syntax: access.Exact,
		})
		if len(read) > 0 {
			list = append(list, access.Rule{
				ID: "topics of the device's cloud", Effect: access.Allow, Actions: access.Subscribe | access.Receive, Topics: read, Syntax: access.Exact,
			})
		}
		list = append(list, access.Rule{ID: "not the device's own topic", Effect: access.Deny, Actions: everything})
	}
	if len(list) == 0 {
		return nil, nil
	}
	return access.Compile(list)
}
