package packet_test

import (
	"bytes"
	"testing"

	"github.com/fantail-mqtt/fantail/packet"
)

func TestIllFormedPackets(t *testing.T) {
	const (
		malformed = packet.MalformedPacket
		protocol  = packet.ProtocolError
		version   = packet.UnsupportedProtocolVersion
		v31       = packet.V31
		v311      = packet.V311
		v5        = packet.V5
	)
	connect5 := func(list []byte) []byte { return raw("MQTT", 5, 0x02, 0, 0, list, "") }
	will5 := func(list []byte) []byte { return raw("MQTT", 5, 0x06, 0, 0, props(), "", list, "w", "") }
	publish5 := func(list []byte) []byte { return raw("a", list) }
	tests := map[string]struct {
		typ   packet.Type
		v     packet.Version
		flags byte
		from  packet.Dir
		body  []byte
		want  packet.Code
	}{
		"CONNECT without a body":                             {typ: packet.CONNECT, want: malformed},
		"CONNECT that ends in its protocol name":             {typ: packet.CONNECT, body: []byte{0, 4, 'M', 'Q'}, want: malformed},
		"CONNECT of another protocol [MQTT-3.1.2-1]":         {typ: packet.CONNECT, body: raw("HTTP", 4, 2, 0, 0, ""), want: version},
		"CONNECT of level 6 [MQTT-3.1.2-2]":                  {typ: packet.CONNECT, body: raw("MQTT", 6, 2, 0, 0, ""), want: version},
		"CONNECT of level 3 under the later name":            {typ: packet.CONNECT, body: raw("MQTT", 3, 2, 0, 0, ""), want: version},
		"CONNECT of level 4 under the earlier name":          {typ: packet.CONNECT, body: raw("MQIsdp", 4, 2, 0, 0, ""), want: version},
		"CONNECT of a bridge's level 0x84":                   {typ: packet.CONNECT, body: raw("MQTT", 0x84, 2, 0, 0, ""), want: version},
		"CONNECT with the reserved flag [MQTT-3.1.2-3]":      {typ: packet.CONNECT, body: raw("MQTT", 4, 3, 0, 0, ""), want: malformed},
		"CONNECT with a will QoS of 3 [MQTT-3.1.2-12]":       {typ: packet.CONNECT, body: raw("MQTT", 4, 0x1E, 0, 0, "", "w", ""), want: malformed},
		"CONNECT with will QoS and no will [MQTT-3.1.2-11]":  {typ: packet.CONNECT, body: raw("MQTT", 4, 0x0A, 0, 0, ""), want: malformed},
		"CONNECT with will retain, no will [MQTT-3.1.2-13]":  {typ: packet.CONNECT, body: raw("MQTT", 5, 0x22, 0, 0, props(), ""), want: malformed},
		"CONNECT of 3.1.1 with a password only":              {typ: packet.CONNECT, body: raw("MQTT", 4, 0x42, 0, 0, "", "p"), want: malformed},
		"CONNECT whose user name is missing":                 {typ: packet.CONNECT, body: raw("MQTT", 4, 0x82, 0, 0, ""), want: malformed},
		"CONNECT with bytes behind its end":                  {typ: packet.CONNECT, body: raw("MQTT", 4, 2, 0, 0, "", 0), want: malformed},
		"CONNECT with U+0000 in the client id [-1.5.4-2]":    {typ: packet.CONNECT, body: raw("MQTT", 4, 2, 0, 0, "a\x00"), want: malformed},
		"CONNECT with a surrogate [MQTT-1.5.4-1]":            {typ: packet.CONNECT, body: raw("MQTT", 4, 2, 0, 0, "\xed\xa0\x80"), want: malformed},
		"CONNECT with an overlong character":                 {typ: packet.CONNECT, body: raw("MQTT", 4, 2, 0, 0, "\xc0\xaf"), want: malformed},
		"CONNECT with bad UTF-8 in its user name":            {typ: packet.CONNECT, body: raw("MQTT", 4, 0x82, 0, 0, "", "\xff"), want: malformed},
		"CONNECT with bad UTF-8 in its will topic":           {typ: packet.CONNECT, body: raw("MQTT", 4, 0x06, 0, 0, "", "\xff", ""), want: malformed},
		"CONNECT of 5.0 without a property length":           {typ: packet.CONNECT, body: raw("MQTT", 5, 2, 0, 0), want: malformed},
		"CONNECT with a property length too long":            {typ: packet.CONNECT, body: raw("MQTT", 5, 2, 0, 0, 9, ""), want: malformed},
		"CONNECT with a property length of five bytes":       {typ: packet.CONNECT, body: raw("MQTT", 5, 2, 0, 0, 0x80, 0x80, 0x80, 0x80, 0, ""), want: malformed},
		"CONNECT with a property length not shortest":        {typ: packet.CONNECT, body: raw("MQTT", 5, 2, 0, 0, 0x80, 0, ""), want: malformed},
		"CONNECT with an unknown property":                   {typ: packet.CONNECT, body: connect5(props(0x7E, 0)), want: malformed},
		"CONNECT with another packet's property":             {typ: packet.CONNECT, body: connect5(props(0x23, 0, 1)), want: malformed},
		"CONNECT with a property cut short":                  {typ: packet.CONNECT, body: connect5(props(0x11, 0, 0)), want: malformed},
		"CONNECT with a session expiry twice":                {typ: packet.CONNECT, body: connect5(props(0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1)), want: protocol},
		"CONNECT with a receive maximum of 0":                {typ: packet.CONNECT, body: connect5(props(0x21, 0, 0)), want: protocol},
		"CONNECT with a maximum packet size of 0":            {typ: packet.CONNECT, body: connect5(props(0x27, 0, 0, 0, 0)), want: protocol},
		"CONNECT with request response information 2":        {typ: packet.CONNECT, body: connect5(props(0x19, 2)), want: protocol},
		"CONNECT with request problem information 2":         {typ: packet.CONNECT, body: connect5(props(0x17, 2)), want: protocol},
		"CONNECT with authentication data and no method":     {typ: packet.CONNECT, body: connect5(props(0x16, "d")), want: protocol},
		"CONNECT with a bad user property":                   {typ: packet.CONNECT, body: connect5(props(0x26, "k", "\xff")), want: malformed},
		"CONNECT whose will has a connect property":          {typ: packet.CONNECT, body: will5(props(0x21, 0, 1)), want: malformed},
		"CONNECT whose will has two delays":                  {typ: packet.CONNECT, body: will5(props(0x18, 0, 0, 0, 1, 0x18, 0, 0, 0, 1)), want: protocol},
		"CONNECT whose will has a payload format of 2":       {typ: packet.CONNECT, body: will5(props(0x01, 2)), want: protocol},
		"CONNECT whose will answers to a wildcard":           {typ: packet.CONNECT, body: will5(props(0x08, "a/#")), want: protocol},
		"CONNACK without a body":                             {typ: packet.CONNACK, v: v311, want: malformed},
		"CONNACK with reserved flags [MQTT-3.2.2-1]":         {typ: packet.CONNACK, v: v311, body: raw(2, 0), want: malformed},
		"CONNACK of 3.1.1 with properties":                   {typ: packet.CONNACK, v: v311, body: raw(0, 0, props()), want: malformed},
		"CONNACK of 5.0 without a property length":           {typ: packet.CONNACK, v: v5, body: raw(0, 0), want: malformed},
		"CONNACK with a maximum QoS of 2":                    {typ: packet.CONNACK, v: v5, body: raw(0, 0, props(0x24, 2)), want: protocol},
		"CONNACK with retain available 2":                    {typ: packet.CONNACK, v: v5, body: raw(0, 0, props(0x25, 2)), want: protocol},
		"CONNACK with a receive maximum of 0":                {typ: packet.CONNACK, v: v5, body: raw(0, 0, props(0x21, 0, 0)), want: protocol},
		"PUBLISH of QoS 3 [MQTT-3.3.1-4]":                    {typ: packet.PUBLISH, v: v311, flags: 6, body: raw("a", 0, 1), want: malformed},
		"PUBLISH of QoS 0 with DUP [MQTT-3.3.1-2]":           {typ: packet.PUBLISH, v: v311, flags: 8, body: raw("a"), want: malformed},
		"PUBLISH without a body":                             {typ: packet.PUBLISH, v: v311, want: malformed},
		"PUBLISH that ends in its topic":                     {typ: packet.PUBLISH, v: v311, body: []byte{0, 5, 'a'}, want: malformed},
		"PUBLISH with bad UTF-8 in its topic":                {typ: packet.PUBLISH, v: v311, body: raw("\xff"), want: malformed},
		"PUBLISH with U+0000 in its topic":                   {typ: packet.PUBLISH, v: v5, body: raw("a\x00b", props()), want: malformed},
		"PUBLISH of QoS 1 without a packet identifier":       {typ: packet.PUBLISH, v: v311, flags: 2, body: raw("a", 0), want: malformed},
		"PUBLISH with packet identifier 0 [MQTT-2.2.1-3]":    {typ: packet.PUBLISH, v: v311, flags: 2, body: raw("a", 0, 0), want: protocol},
		"PUBLISH of 5.0 without a property length":           {typ: packet.PUBLISH, v: v5, body: raw("a"), want: malformed},
		"PUBLISH with a topic alias of 0 [MQTT-3.3.2-8]":     {typ: packet.PUBLISH, v: v5, body: publish5(props(0x23, 0, 0)), want: packet.TopicAliasInvalid},
		"PUBLISH with two topic aliases":                     {typ: packet.PUBLISH, v: v5, body: publish5(props(0x23, 0, 1, 0x23, 0, 1)), want: protocol},
		"PUBLISH with two message expiries":                  {typ: packet.PUBLISH, v: v5, body: publish5(props(0x02, 0, 0, 0, 1, 0x02, 0, 0, 0, 1)), want: protocol},
		"PUBLISH with a payload format of 2":                 {typ: packet.PUBLISH, v: v5, body: publish5(props(0x01, 2)), want: protocol},
		"PUBLISH with a wildcard to answer to":               {typ: packet.PUBLISH, v: v5, body: publish5(props(0x08, "a/+")), want: protocol},
		"PUBLISH with nowhere to answer to":                  {typ: packet.PUBLISH, v: v5, body: publish5(props(0x08, "")), want: protocol},
		"PUBLISH from a client with a subscription id":       {typ: packet.PUBLISH, v: v5, body: publish5(props(0x0B, 1)), want: malformed},
		"PUBLISH from a server with subscription id 0":       {typ: packet.PUBLISH, v: v5, from: packet.FromServer, body: publish5(props(0x0B, 0)), want: protocol},
		"PUBLISH with bad UTF-8 in its content type":         {typ: packet.PUBLISH, v: v5, body: publish5(props(0x03, "\xff")), want: malformed},
		"PUBLISH whose last property reaches past the list":  {typ: packet.PUBLISH, v: v5, body: raw("a", 4, 0x03, 0, 9, 'x', "xxxxxxxxxxxx"), want: malformed},
		"PUBACK without a body":                              {typ: packet.PUBACK, v: v311, want: malformed},
		"PUBACK of one byte":                                 {typ: packet.PUBACK, v: v311, body: raw(0), want: malformed},
		"PUBACK with packet identifier 0":                    {typ: packet.PUBACK, v: v311, body: raw(0, 0), want: protocol},
		"PUBACK of 3.1.1 with a code":                        {typ: packet.PUBACK, v: v311, body: raw(0, 1, 0), want: malformed},
		"PUBACK of 5.0 with bytes behind its end":            {typ: packet.PUBACK, v: v5, body: raw(0, 1, 0, props(), 0), want: malformed},
		"PUBACK with two reasons":                            {typ: packet.PUBACK, v: v5, body: raw(0, 1, 0, props(0x1F, "", 0x1F, "")), want: protocol},
		"SUBSCRIBE without a body":                           {typ: packet.SUBSCRIBE, v: v311, want: malformed},
		"SUBSCRIBE with packet identifier 0":                 {typ: packet.SUBSCRIBE, v: v311, body: raw(0, 0, "a", 0), want: protocol},
		"SUBSCRIBE without a filter [MQTT-3.8.3-2]":          {typ: packet.SUBSCRIBE, v: v311, body: raw(0, 1), want: protocol},
		"SUBSCRIBE without options":                          {typ: packet.SUBSCRIBE, v: v311, body: raw(0, 1, "a"), want: malformed},
		"SUBSCRIBE of QoS 3":                                 {typ: packet.SUBSCRIBE, v: v311, body: raw(0, 1, "a", 3), want: protocol},
		"SUBSCRIBE of 3.1.1 with an option of 5.0":           {typ: packet.SUBSCRIBE, v: v311, body: raw(0, 1, "a", 4), want: malformed},
		"SUBSCRIBE with reserved options [MQTT-3.8.3-5]":     {typ: packet.SUBSCRIBE, v: v5, body: raw(0, 1, props(), "a", 0x40), want: malformed},
		"SUBSCRIBE with a retain handling of 3":              {typ: packet.SUBSCRIBE, v: v5, body: raw(0, 1, props(), "a", 0x30), want: protocol},
		"SUBSCRIBE with a subscription identifier of 0":      {typ: packet.SUBSCRIBE, v: v5, body: raw(0, 1, props(0x0B, 0), "a", 0), want: protocol},
		"SUBSCRIBE with two subscription identifiers":        {typ: packet.SUBSCRIBE, v: v5, body: raw(0, 1, props(0x0B, 1, 0x0B, 2), "a", 0), want: protocol},
		"SUBSCRIBE with bad UTF-8 in its second filter":      {typ: packet.SUBSCRIBE, v: v311, body: raw(0, 1, "a", 0, "\xff", 0), want: malformed},
		"SUBACK without a code":                              {typ: packet.SUBACK, v: v5, body: raw(0, 1, props()), want: protocol},
		"SUBACK of 3.1.1 with a code of 5.0":                 {typ: packet.SUBACK, v: v311, body: raw(0, 1, 0x87), want: protocol},
		"SUBACK with packet identifier 0":                    {typ: packet.SUBACK, v: v311, body: raw(0, 0, 0), want: protocol},
		"UNSUBSCRIBE without a filter [MQTT-3.10.3-2]":       {typ: packet.UNSUBSCRIBE, v: v5, body: raw(0, 1, props()), want: protocol},
		"UNSUBSCRIBE with packet identifier 0":               {typ: packet.UNSUBSCRIBE, v: v311, body: raw(0, 0, "a"), want: protocol},
		"UNSUBSCRIBE that ends in its filter":                {typ: packet.UNSUBSCRIBE, v: v311, body: raw(0, 1, 0, 4, 'a'), want: malformed},
		"UNSUBSCRIBE with a subscription identifier":         {typ: packet.UNSUBSCRIBE, v: v5, body: raw(0, 1, props(0x0B, 1), "a"), want: malformed},
		"UNSUBACK of 3.1.1 with codes":                       {typ: packet.UNSUBACK, v: v311, body: raw(0, 1, 0), want: malformed},
		"PINGREQ with a body":                                {typ: packet.PINGREQ, v: v311, body: raw(0), want: malformed},
		"PINGRESP with a body":                               {typ: packet.PINGRESP, v: v5, body: raw(0), want: malformed},
		"DISCONNECT of 3.1.1 with a code":                    {typ: packet.DISCONNECT, v: v311, body: raw(0), want: malformed},
		"DISCONNECT from a server with a session expiry":     {typ: packet.DISCONNECT, v: v5, from: packet.FromServer, body: raw(0, props(0x11, 0, 0, 0, 1)), want: malformed},
		"DISCONNECT from a client with a server reference":   {typ: packet.DISCONNECT, v: v5, body: raw(0, props(0x1C, "s")), want: malformed},
		"DISCONNECT with bytes behind its end":               {typ: packet.DISCONNECT, v: v5, body: raw(0, props(), 1), want: malformed},
		"AUTH from a client without a body":                  {typ: packet.AUTH, v: v5, want: protocol},
		"AUTH with bytes behind its end":                     {typ: packet.AUTH, v: v5, body: raw(0x18, props(), 1), want: malformed},
		"AUTH with two methods":                              {typ: packet.AUTH, v: v5, body: raw(0x18, props(0x15, "M", 0x15, "M")), want: protocol},
		"CONNECT of 3.1 with a will QoS of 3":                {typ: packet.CONNECT, body: raw("MQIsdp", 3, 0x1E, 0, 0, "", "w", ""), want: malformed},
		"PUBLISH of 3.1 with packet identifier 0":            {typ: packet.PUBLISH, v: v31, flags: 2, body: raw("a", 0, 0), want: protocol},
		"SUBSCRIBE of 3.1 with an option of 5.0":             {typ: packet.SUBSCRIBE, v: v31, body: raw(0, 1, "a", 4), want: malformed},
		"PUBCOMP of 3.1 with a code":                         {typ: packet.PUBCOMP, v: v31, body: raw(0, 1, 0), want: malformed},
		"PUBREL of 5.0 whose property length is missing one": {typ: packet.PUBREL, v: v5, body: raw(0, 1, 0, 5, 0x1F), want: malformed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parse(packet.Frame{Type: tt.typ, Flags: tt.flags, Body: tt.body}, tt.v, tt.from)
			if got, ok := codeOf(err); !ok || got != tt.want {
				t.Errorf("err = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestUnsupportedVersionComesWithWhatThePeerSent(t *testing.T) {
	c, err := packet.ParseConnect(raw("MQTT", 6, 0xFF))
	if got, ok := codeOf(err); !ok || got != packet.UnsupportedProtocolVersion {
		t.Fatalf("err = %v, want %v", err, packet.UnsupportedProtocolVersion)
	}
	if c == nil || c.Version != 6 {
		t.Errorf("connect = %+v, want version 6", c)
	}
}

func TestReservedHeaderFlagsAreRefused(t *testing.T) { // [MQTT-2.1.3-1]
	for typ := range packet.Type(16) {
		for flags := range byte(16) {
			for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
				want := flags == 0
				switch typ {
				case packet.PUBLISH:
					want = true
				case packet.PUBREL, packet.SUBSCRIBE, packet.UNSUBSCRIBE:
					want = flags == 2 || v == packet.V31 && flags&1 == 0
				case packet.AUTH:
					want = want && v == packet.V5
				case 0:
					want = false
				default:
				}
				err := packet.CheckFlags(packet.Frame{Type: typ, Flags: flags}, v)
				if want != (err == nil) {
					t.Errorf("%v, flags %#x, version %v: err = %v, want accepted = %v", typ, flags, v, err, want)
				}
				if code, ok := codeOf(err); err != nil && (!ok || code != packet.MalformedPacket) {
					t.Errorf("%v, flags %#x: err = %v, want a malformed packet", typ, flags, err)
				}
			}
		}
	}
}

func TestSplitCutsOnePacketOff(t *testing.T) {
	big := packet.AppendPublish(nil, &packet.Publish{Topic: []byte("t"), Payload: make([]byte, 3_000_000)}, packet.V311)
	tests := map[string]struct {
		in    []byte
		limit int
		n     int
		code  packet.Code // 0: no error
	}{
		"nothing":                                     {in: nil, limit: 100},
		"one byte":                                    {in: raw(0x30), limit: 100},
		"a packet without a body":                     {in: raw(0xC0, 0), limit: 100, n: 2},
		"a packet and the start of the next":          {in: raw(0x30, 3, "a", 0xC0), limit: 100, n: 5},
		"a packet of which a byte is missing":         {in: raw(0x30, 3, "a")[:4], limit: 100},
		"a packet as large as the limit":              {in: raw(0x30, 3, "a"), limit: 5, n: 5},
		"a packet larger than the limit":              {in: raw(0x30, 3, "a"), limit: 4, code: packet.PacketTooLarge},
		"a packet larger than the limit, length only": {in: raw(0x30, 0xFF, 0xFF, 0xFF, 0x7F), limit: 1 << 20, code: packet.PacketTooLarge},
		"a length of four bytes":                      {in: big, limit: 1 << 22, n: len(big)},
		"a length whose next byte is missing":         {in: raw(0x30, 0x80), limit: 100},
		"a length whose last byte is missing":         {in: raw(0x30, 0xFF, 0xFF, 0xFF), limit: 100},
		"a length of five bytes":                      {in: raw(0x30, 0x80, 0x80, 0x80, 0x80, 1), limit: 100, code: packet.MalformedPacket},
		"a length of four bytes that go on":           {in: raw(0x30, 0xFF, 0xFF, 0xFF, 0xFF), limit: 100, code: packet.MalformedPacket},
		"a length not in its shortest form":           {in: raw(0xC0, 0x80, 0), limit: 100, code: packet.MalformedPacket},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, n, err := packet.Split(tt.in, tt.limit)
			if code, _ := codeOf(err); code != tt.code || (err != nil) != (tt.code != 0) {
				t.Fatalf("err = %v, want code %v", err, tt.code)
			}
			if n != tt.n {
				t.Fatalf("n = %d, want %d", n, tt.n)
			}
			if n == 0 {
				return
			}
			if byte(f.Type)<<4|f.Flags != tt.in[0] {
				t.Errorf("frame is of type %v with flags %#x, the first byte was %#x", f.Type, f.Flags, tt.in[0])
			}
			if !bytes.HasSuffix(tt.in[:n], f.Body) || cap(f.Body) != len(f.Body) {
				t.Errorf("body has %d bytes, capacity %d; want the packet's end and no room behind it", len(f.Body), cap(f.Body))
			}
		})
	}
}
