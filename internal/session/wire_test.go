package session_test

import (
	"fmt"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/packet"
)

// wire tells the packets in b, as their client would read them.
func wire(b []byte, v packet.Version) (lines []string) {
	for len(b) > 0 {
		f, n, err := packet.Split(b, len(b))
		if err != nil || n == 0 {
			return append(lines, fmt.Sprintf("%d bytes that are no packet: %v", len(b), err))
		}
		lines = append(lines, packetText(f, n, v))
		b = b[n:]
	}
	return lines
}

func packetText(f packet.Frame, size int, v packet.Version) string {
	if f.Type == packet.PUBLISH {
		var p packet.Publish
		if err := packet.ParsePublish(&p, f.Flags, f.Body, v, packet.FromServer); err != nil {
			return err.Error()
		}
		return publishText(&p, size)
	}
	if err := packet.CheckFlags(f, v); err != nil {
		return err.Error()
	}
	a, err := packet.ParseAck(f.Type, f.Body, v)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%v id=%d%s", f.Type, a.ID, codeText(a.Code))
}

func publishText(p *packet.Publish, size int) string {
	line := fmt.Sprintf("PUBLISH qos=%d", p.QoS)
	for _, field := range []struct {
		show bool
		text string
	}{
		{p.QoS > 0, fmt.Sprintf(" id=%d", p.ID)},
		{p.Dup, " dup"},
		{p.Retain, " retain"},
		{len(p.Topic) > 0, " topic=" + string(p.Topic)},
		{p.Alias > 0, fmt.Sprintf(" alias=%d", p.Alias)},
		{p.HasExpiry, fmt.Sprintf(" expiry=%d", p.Expiry)},
		{len(p.SubscriptionIDs) > 0, fmt.Sprintf(" ids=%v", p.SubscriptionIDs)},
	} {
		if field.show {
			line += field.text
		}
	}
	return fmt.Sprintf("%s %s (%d B)", line, payloadText(p.Payload), size)
}

func payloadText(b []byte) string {
	if len(b) > 16 {
		return fmt.Sprintf("%q...", b[:4])
	}
	return fmt.Sprintf("%q", b)
}

func codeText(c packet.Code) string {
	if c == packet.Success {
		return ""
	}
	return fmt.Sprintf(" 0x%02X %v", byte(c), c)
}

// publishes are the PUBLISH packets in b.
func publishes(b []byte, v packet.Version) (list []packet.Publish) {
	for len(b) > 0 {
		f, n, err := packet.Split(b, len(b))
		if err != nil || n == 0 {
			return list
		}
		b = b[n:]
		if f.Type != packet.PUBLISH {
			continue
		}
		var p packet.Publish
		if packet.ParsePublish(&p, f.Flags, f.Body, v, packet.FromServer) == nil {
			list = append(list, p)
		}
	}
	return list
}

func changeText(c session.Change) string {
	switch c.Kind {
	case session.Queue:
		if c.Item.ID == 0 {
			return fmt.Sprintf("queue #%d", c.Item.Seq)
		}
		return fmt.Sprintf("queue #%d id=%d", c.Item.Seq, c.Item.ID)
	case session.Send:
		return fmt.Sprintf("send #%d id=%d", c.Item.Seq, c.Item.ID)
	case session.Release:
		return fmt.Sprintf("release #%d", c.Item.Seq)
	case session.Finish:
		return fmt.Sprintf("finish #%d", c.Item.Seq)
	case session.Expire:
		return fmt.Sprintf("expire #%d to #%d, %d messages", c.Run.First, c.Run.Last, c.Run.Messages)
	case session.Receive:
		return fmt.Sprintf("receive id=%d", c.ID)
	case session.Complete:
		return fmt.Sprintf("complete id=%d", c.ID)
	default:
		return fmt.Sprintf("unknown change %d", c.Kind)
	}
}

func outcomeText(o session.Outcome) string {
	names := [...]string{
		"sent", "queued", "dropped: the client is away", "dropped: the client is slow", "dropped: the queue is full",
		"dropped: the queue is full, and this is QoS 0", "dropped: too large",
	}
	if int(o) < len(names) {
		return names[o]
	}
	return fmt.Sprintf("unknown outcome %d", o)
}
