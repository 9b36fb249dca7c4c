package packet_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/packet"
)

// Every packet that can be said at all is read back as it was written, in
// each version.
func TestWhatIsAppendedIsParsedBack(t *testing.T) {
	for typ := packet.CONNECT; typ <= packet.AUTH; typ++ {
		for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
			if typ == packet.AUTH && v < packet.V5 {
				continue
			}
			t.Run(typ.String()+"/"+v.String(), func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) { checkRoundTrip(t, typ, v) })
			})
		}
	}
}

func checkRoundTrip(t *rapid.T, typ packet.Type, v packet.Version) {
	from := rapid.SampledFrom([]packet.Dir{packet.FromClient, packet.FromServer}).Draw(t, "from")
	want := drawPacket(t, typ, v, from)
	before := []byte("bytes in front")
	b := encode(before, want, typ, v)
	if !strings.HasPrefix(string(b), "bytes in front") {
		t.Fatalf("the bytes in front became %q", b[:len(before)])
	}
	b = b[len(before):]
	f, err := split(b)
	if err != nil {
		t.Fatalf("% x: %v", b, err)
	}
	if f.Type != typ {
		t.Fatalf("type = %v, want %v", f.Type, typ)
	}
	if err := packet.CheckFlags(f, v); err != nil {
		t.Fatalf("% x: %v", b, err)
	}
	got, err := parse(f, v, from)
	if err != nil {
		t.Fatalf("% x: %v", b, err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("% x\nparsed differs (-want +got):\n%s", b, diff)
	}
	if p, ok := want.(*packet.Publish); ok && p.Size(v) != len(b) {
		t.Fatalf("Size = %d, but the packet takes %d bytes", p.Size(v), len(b))
	}
}

func drawPacket(t *rapid.T, typ packet.Type, v packet.Version, from packet.Dir) any {
	v5 := v == packet.V5
	switch typ {
	case packet.CONNECT:
		return drawConnect(t, v)
	case packet.CONNACK:
		return drawConnack(t, v)
	case packet.PUBLISH:
		return drawPublish(t, v, from)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		a := &packet.Ack{ID: drawID(t)}
		if v5 {
			a.Code, a.Reason, a.User = drawCode(t, typ, from), drawText(t, "reason"), drawUser(t)
		}
		return a
	case packet.SUBSCRIBE:
		return drawSubscribe(t, v)
	case packet.SUBACK, packet.UNSUBACK:
		return drawSuback(t, typ, v)
	case packet.UNSUBSCRIBE:
		u := &packet.Unsubscribe{ID: drawID(t), Filters: rapid.SliceOfN(text(), 1, 4).Draw(t, "filters")}
		if v5 {
			u.User = drawUser(t)
		}
		return u
	case packet.DISCONNECT:
		d := &packet.Disconnect{}
		if !v5 {
			return d
		}
		d.Code, d.Reason, d.User = drawCode(t, typ, from), drawText(t, "reason"), drawUser(t)
		if from == packet.FromServer {
			d.ServerReference = drawText(t, "server reference")
			return d
		}
		d.SessionExpiry, d.HasSessionExpiry = drawOptional(t, "session expiry")
		return d
	case packet.AUTH:
		a := &packet.Auth{Code: drawCode(t, typ, from), Reason: drawText(t, "reason"), User: drawUser(t)}
		if a.HasMethod = drawBool(t, "has method"); a.HasMethod {
			a.Method = drawText(t, "method")
		}
		a.Data, a.HasData = drawData(t, "data")
		return a
	default:
		return nil
	}
}

func drawConnect(t *rapid.T, v packet.Version) *packet.Connect {
	c := &packet.Connect{
		Version: v, CleanStart: drawBool(t, "clean"), KeepAlive: rapid.Uint16().Draw(t, "keep alive"), ClientID: drawText(t, "id"),
	}
	if c.HasUserName = drawBool(t, "has user"); c.HasUserName {
		c.UserName = drawText(t, "user")
	}
	if c.HasUserName || v == packet.V5 {
		c.Password, c.HasPassword = drawData(t, "password")
	}
	if drawBool(t, "has will") {
		c.Will = &packet.Will{
			Topic: drawText(t, "will topic"), Payload: drawBytes(t, "will"),
			QoS: rapid.ByteMax(2).Draw(t, "will QoS"), Retain: drawBool(t, "will retain"),
		}
	}
	if v != packet.V5 {
		return c
	}
	if c.Will != nil {
		c.Will.Delay = rapid.Uint32().Draw(t, "delay")
		c.Will.Expiry, c.Will.HasExpiry = drawOptional(t, "expiry")
		c.Will.Forward = drawForward(t)
	}
	c.SessionExpiry, c.HasSessionExpiry = drawOptional(t, "session expiry")
	c.ReceiveMaximum = rapid.Uint16().Draw(t, "receive maximum")
	c.MaximumPacketSize = rapid.Uint32().Draw(t, "packet size")
	c.TopicAliasMaximum = rapid.Uint16().Draw(t, "aliases")
	c.RequestResponseInfo = drawBool(t, "response info")
	c.WithoutProblemInfo = drawBool(t, "no problem info")
	if c.HasAuthMethod = drawBool(t, "has method"); c.HasAuthMethod {
		c.AuthMethod = drawText(t, "method")
		c.AuthData, c.HasAuthData = drawData(t, "auth data")
	}
	c.User = drawUser(t)
	return c
}

func drawConnack(t *rapid.T, v packet.Version) *packet.Connack {
	c := &packet.Connack{SessionPresent: v != packet.V31 && drawBool(t, "present")}
	if v != packet.V5 {
		c.Code = packet.FromReturnCode(rapid.ByteMax(5).Draw(t, "return code"))
		return c
	}
	c.Code = drawCode(t, packet.CONNACK, packet.FromServer)
	c.SessionExpiry, c.HasSessionExpiry = drawOptional(t, "session expiry")
	c.ReceiveMaximum = rapid.Uint16().Draw(t, "receive maximum")
	if c.HasMaximumQoS = drawBool(t, "has QoS"); c.HasMaximumQoS {
		c.MaximumQoS = rapid.ByteMax(1).Draw(t, "QoS")
	}
	c.WithoutRetain = drawBool(t, "no retain")
	c.MaximumPacketSize = rapid.Uint32().Draw(t, "packet size")
	c.AssignedClientID = drawText(t, "assigned")
	c.TopicAliasMaximum = rapid.Uint16().Draw(t, "aliases")
	c.Reason, c.User = drawText(t, "reason"), drawUser(t)
	c.WithoutWildcards = drawBool(t, "no wildcards")
	c.WithoutSubIDs = drawBool(t, "no ids")
	c.WithoutShared = drawBool(t, "no shared")
	if c.HasServerKeepAlive = drawBool(t, "has keep alive"); c.HasServerKeepAlive {
		c.ServerKeepAlive = rapid.Uint16().Draw(t, "keep alive")
	}
	c.ResponseInfo = drawText(t, "response info")
	c.ServerReference = drawText(t, "reference")
	c.AuthMethod = drawText(t, "method")
	c.AuthData, c.HasAuthData = drawData(t, "auth data")
	return c
}

func drawPublish(t *rapid.T, v packet.Version, from packet.Dir) *packet.Publish {
	p := &packet.Publish{
		QoS: rapid.ByteMax(2).Draw(t, "QoS"), Retain: drawBool(t, "retain"),
		Topic: []byte(drawText(t, "topic")), Payload: drawBytes(t, "payload"),
	}
	if p.QoS > 0 {
		p.ID = drawID(t)
	}
	if p.QoS > 0 || v == packet.V31 {
		p.Dup = drawBool(t, "dup")
	}
	if v != packet.V5 {
		return p
	}
	p.Alias = rapid.Uint16().Draw(t, "alias")
	p.Expiry, p.HasExpiry = drawOptional(t, "expiry")
	if from == packet.FromServer {
		p.SubscriptionIDs = rapid.SliceOfN(rapid.Uint32Range(1, packet.MaxLength), 0, 3).Draw(t, "subscription ids")
	}
	p.Forward = drawForward(t)
	return p
}

func drawSubscribe(t *rapid.T, v packet.Version) *packet.Subscribe {
	s := &packet.Subscribe{ID: drawID(t)}
	if v == packet.V5 {
		s.SubscriptionID, s.User = rapid.Uint32Range(0, packet.MaxLength).Draw(t, "subscription id"), drawUser(t)
	}
	for range rapid.IntRange(1, 4).Draw(t, "filters") {
		f := packet.Subscription{Filter: drawText(t, "filter"), QoS: rapid.ByteMax(2).Draw(t, "QoS")}
		if v == packet.V5 {
			f.NoLocal, f.RetainAsPublished = drawBool(t, "no local"), drawBool(t, "as published")
			f.RetainHandling = rapid.ByteMax(2).Draw(t, "retain handling")
		}
		s.Filters = append(s.Filters, f)
	}
	return s
}

func drawSuback(t *rapid.T, typ packet.Type, v packet.Version) *packet.Suback {
	s := &packet.Suback{ID: drawID(t)}
	if v == packet.V5 {
		s.Reason, s.User = drawText(t, "reason"), drawUser(t)
	}
	if v < packet.V5 && typ == packet.UNSUBACK {
		return s
	}
	codes := codesOf(typ, packet.FromServer)
	if v < packet.V5 {
		codes = []packet.Code{0, 1, 2, 0x80}
	}
	s.Codes = rapid.SliceOfN(rapid.SampledFrom(codes), 1, 4).Draw(t, "codes")
	return s
}

func drawForward(t *rapid.T) []byte {
	f := packet.ForwardProperties{ContentType: drawText(t, "content type"), User: drawUser(t)}
	if f.HasPayloadFormat = drawBool(t, "has format"); f.HasPayloadFormat {
		f.PayloadFormat = rapid.ByteMax(1).Draw(t, "format")
	}
	if drawBool(t, "has response topic") {
		f.ResponseTopic = rapid.StringMatching(`[a-z/]{1,9}`).Draw(t, "response topic")
	}
	f.CorrelationData, f.HasCorrelation = drawData(t, "correlation")
	b := packet.AppendForward(nil, &f)
	got, err := packet.ParseForward(b)
	if err != nil {
		t.Fatalf("% x: %v", b, err)
	}
	if diff := cmp.Diff(f, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("forwarded properties differ (-want +got):\n%s", diff)
	}
	return b
}

// text makes strings that MQTT allows: without U+0000, at times the longest.
func text() *rapid.Generator[string] {
	r := rapid.Rune().Filter(func(r rune) bool { return r != 0 })
	return rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 99).Draw(t, "long") == 99 {
			return strings.Repeat("x", 65_535)
		}
		return rapid.StringOfN(r, 0, 12, -1).Draw(t, "text")
	})
}

func drawText(t *rapid.T, label string) string { return text().Draw(t, label) }
func drawBool(t *rapid.T, label string) bool   { return rapid.Bool().Draw(t, label) }
func drawID(t *rapid.T) uint16                 { return rapid.Uint16Min(1).Draw(t, "packet id") }

func drawBytes(t *rapid.T, label string) []byte {
	return rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, label)
}

func drawData(t *rapid.T, label string) ([]byte, bool) {
	if !drawBool(t, "has "+label) {
		return nil, false
	}
	return drawBytes(t, label), true
}

func drawOptional(t *rapid.T, label string) (uint32, bool) {
	if !drawBool(t, "has "+label) {
		return 0, false
	}
	return rapid.Uint32().Draw(t, label), true
}

func drawUser(t *rapid.T) []packet.UserProperty {
	var users []packet.UserProperty
	for range rapid.IntRange(0, 2).Draw(t, "user properties") {
		users = append(users, packet.UserProperty{Key: drawText(t, "key"), Value: drawText(t, "value")})
	}
	return users
}

func drawCode(t *rapid.T, typ packet.Type, from packet.Dir) packet.Code {
	return rapid.SampledFrom(codesOf(typ, from)).Draw(t, "code")
}
