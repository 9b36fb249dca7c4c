package cli

import (
	"slices"
	"strconv"
	"strings"

	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

// properties is what the -D flags ask for, by the packet that carries it.
type properties struct {
	connect     packet.ConnectProperties
	publish     client.Message // its properties only
	will        packet.Will    // its properties only
	subscribe   packet.Subscribe
	unsubscribe packet.Unsubscribe
	disconnect  packet.Disconnect

	willForward packet.ForwardProperties
}

// parseProperties sorts the -D flags; a mistake names its -D.
func parseProperties(list propertyList) (*properties, error) {
	var all properties
	for _, p := range list {
		if why := all.set(p); why != "" {
			return nil, misuse("-D %s %s %s: %s", p.command, p.name, strings.TrimSpace(p.value+" "+p.second), why)
		}
	}
	all.will.Forward = packet.AppendForward(nil, &all.willForward)
	return &all, nil
}

// set takes over one -D; it returns what is wrong with it.
func (all *properties) set(p property) string {
	user := packet.UserProperty{Key: p.value, Value: p.second}
	isUser := p.name == "user-property"
	switch p.command {
	case "connect":
		return all.setConnect(p, user)
	case "publish":
		return setMessage(p, user, &all.publish.ForwardProperties, &all.publish.Expiry, &all.publish.HasExpiry, &all.publish.Alias, nil)
	case "will":
		return setMessage(p, user, &all.willForward, &all.will.Expiry, &all.will.HasExpiry, nil, &all.will.Delay)
	case "subscribe":
		if isUser {
			all.subscribe.User = append(all.subscribe.User, user)
			return ""
		}
		if p.name == "subscription-identifier" {
			return number(p.value, 1, packet.MaxLength, &all.subscribe.SubscriptionID)
		}
	case "unsubscribe":
		if isUser {
			all.unsubscribe.User = append(all.unsubscribe.User, user)
			return ""
		}
	case "disconnect":
		switch p.name {
		case "user-property":
			all.disconnect.User = append(all.disconnect.User, user)
			return ""
		case "reason-string":
			all.disconnect.Reason = p.value
			return ""
		case "session-expiry-interval":
			all.disconnect.HasSessionExpiry = true
			return expiry(p.value, &all.disconnect.SessionExpiry)
		}
	default:
		return "the command is none of connect, publish, will, subscribe, unsubscribe, disconnect"
	}
	return "a " + strings.ToUpper(p.command) + " has no such property"
}

func (all *properties) setConnect(p property, user packet.UserProperty) string {
	c := &all.connect
	switch p.name {
	case "user-property":
		c.User = append(c.User, user)
	case "session-expiry-interval":
		c.HasSessionExpiry = true
		return expiry(p.value, &c.SessionExpiry)
	case "receive-maximum":
		return number(p.value, 1, 65_535, &c.ReceiveMaximum)
	case "maximum-packet-size":
		return number(p.value, 1, 1<<32-1, &c.MaximumPacketSize)
	case "topic-alias-maximum":
		return number(p.value, 0, 65_535, &c.TopicAliasMaximum)
	case "request-response-information":
		return flag(p.value, &c.RequestResponseInfo)
	case "request-problem-information":
		var asked bool
		why := flag(p.value, &asked)
		c.WithoutProblemInfo = !asked
		return why
	case "authentication-method":
		c.AuthMethod, c.HasAuthMethod = p.value, true
	case "authentication-data":
		c.AuthData, c.HasAuthData = []byte(p.value), true
	default:
		return "a CONNECT has no such property"
	}
	return ""
}

// setMessage sets a property of a message or, with delay, of a will.
func setMessage(p property, user packet.UserProperty, f *packet.ForwardProperties, seconds *uint32, has *bool, alias *uint16, delay *uint32) string {
	switch {
	case p.name == "user-property":
		f.User = append(f.User, user)
	case p.name == "content-type":
		f.ContentType = p.value
	case p.name == "response-topic":
		f.ResponseTopic = p.value
	case p.name == "correlation-data":
		f.CorrelationData, f.HasCorrelation = []byte(p.value), true
	case p.name == "payload-format-indicator":
		f.HasPayloadFormat = true
		return number(p.value, 0, 1, &f.PayloadFormat)
	case p.name == "message-expiry-interval":
		*has = true
		return number(p.value, 0, 1<<32-1, seconds)
	case p.name == "topic-alias" && alias != nil:
		return number(p.value, 1, 65_535, alias)
	case p.name == "will-delay-interval" && delay != nil:
		return number(p.value, 0, 1<<32-1, delay)
	default:
		return "a " + strings.ToUpper(p.command) + " has no such property"
	}
	return ""
}

// number reads a number between low and high.
func number[T byte | uint16 | uint32](text string, low, high uint64, to *T) string {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < low || n > high {
		return "the value is no number from " + strconv.FormatUint(low, 10) + " to " + strconv.FormatUint(high, 10)
	}
	*to = T(n)
	return ""
}

func flag(text string, to *bool) string {
	if text != "0" && text != "1" {
		return "the value is neither 0 nor 1"
	}
	*to = text == "1"
	return ""
}

// expiry reads seconds; -1 and ∞ are for ever.
func expiry(text string, to *uint32) string {
	if slices.Contains([]string{"-1", "∞", "infinity"}, text) {
		*to = 1<<32 - 1
		return ""
	}
	return number(text, 0, 1<<32-1, to)
}
