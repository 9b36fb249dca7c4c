package packet_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fantail-mqtt/fantail/packet"
)

func TestWellFormedPackets(t *testing.T) {
	type user = packet.UserProperty
	tests := map[string]struct {
		in   []byte
		v    packet.Version
		from packet.Dir
		want any
	}{
		"the shortest CONNECT of 3.1.1": {
			in:   pkt(0x10, "MQTT", 4, 0x02, 0, 60, ""),
			want: &packet.Connect{Version: packet.V311, CleanStart: true, KeepAlive: 60},
		},
		"a CONNECT of 3.1": {
			in:   pkt(0x10, "MQIsdp", 3, 0x00, 0, 1, "a"),
			want: &packet.Connect{Version: packet.V31, KeepAlive: 1, ClientID: "a"},
		},
		"a CONNECT of 3.1 whose flags promise a user name that is not there": {
			in:   pkt(0x10, "MQIsdp", 3, 0xC2, 0, 1, "a"),
			want: &packet.Connect{Version: packet.V31, CleanStart: true, KeepAlive: 1, ClientID: "a"},
		},
		"a CONNECT of 3.1.1 with all its fields": {
			in: pkt(0x10, "MQTT", 4, 0xEE, 0, 0, "id", "w/t", "bye", "u", "p"),
			want: &packet.Connect{
				Version: packet.V311, CleanStart: true, ClientID: "id",
				Will:        &packet.Will{Topic: "w/t", Payload: []byte("bye"), QoS: 1, Retain: true},
				HasUserName: true, UserName: "u", HasPassword: true, Password: []byte("p"),
			},
		},
		"a CONNECT of 5.0 with a password and no user name": {
			in:   pkt(0x10, "MQTT", 5, 0x40, 0, 0, props(), "", "p"),
			want: &packet.Connect{Version: packet.V5, HasPassword: true, Password: []byte("p")},
		},
		"a CONNECT of 5.0 with every property": {
			in: pkt(0x10, "MQTT", 5, 0x02, 0, 0, props(
				0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0x21, 0, 10, 0x27, 0, 0, 1, 0, 0x22, 0, 7, 0x19, 1, 0x17, 0,
				0x15, "M", 0x16, "data", 0x26, "k", "1", 0x26, "k", "2"), ""),
			want: &packet.Connect{Version: packet.V5, CleanStart: true, ConnectProperties: packet.ConnectProperties{
				SessionExpiry: 0xFFFFFFFF, HasSessionExpiry: true, ReceiveMaximum: 10, MaximumPacketSize: 256,
				TopicAliasMaximum: 7, RequestResponseInfo: true, WithoutProblemInfo: true,
				AuthMethod: "M", HasAuthMethod: true, AuthData: []byte("data"), HasAuthData: true,
				User: []user{{"k", "1"}, {"k", "2"}},
			}},
		},
		"a CONNECT of 5.0 with a will of every property": {
			in: pkt(0x10, "MQTT", 5, 0x04, 0, 0, props(), "", props(
				0x18, 0, 0, 0, 5, 0x01, 1, 0x02, 0, 0, 0, 9, 0x03, "t", 0x08, "r", 0x09, "c", 0x26, "k", "v"), "w", "x"),
			want: &packet.Connect{Version: packet.V5, Will: &packet.Will{
				Topic: "w", Payload: []byte("x"), Delay: 5, Expiry: 9, HasExpiry: true,
				Forward: raw(0x01, 1, 0x03, "t", 0x08, "r", 0x09, "c", 0x26, "k", "v"),
			}},
		},
		"a CONNACK of 3.1.1 that resumes": {
			in: pkt(0x20, 1, 0), v: packet.V311,
			want: &packet.Connack{SessionPresent: true},
		},
		"a CONNACK of 3.1.1 that refuses": {
			in: pkt(0x20, 0, 5), v: packet.V311,
			want: &packet.Connack{Code: packet.NotAuthorized},
		},
		"a CONNACK of 3.1, whose first byte is not used": {
			in: pkt(0x20, 0xFF, 4), v: packet.V31,
			want: &packet.Connack{Code: packet.BadUserNameOrPassword},
		},
		"a CONNACK of 5.0 with every property": {
			in: pkt(0x20, 1, 0, props(0x11, 0, 0, 0, 1, 0x21, 0, 2, 0x24, 1, 0x25, 0, 0x27, 0, 0, 0, 9,
				0x12, "id", 0x22, 0, 3, 0x1F, "why", 0x26, "k", "v", 0x28, 0, 0x29, 0, 0x2A, 0, 0x13, 0, 30,
				0x1A, "info", 0x1C, "other", 0x15, "M", 0x16, "d")), v: packet.V5,
			want: &packet.Connack{SessionPresent: true, ConnackProperties: packet.ConnackProperties{
				SessionExpiry: 1, HasSessionExpiry: true, ReceiveMaximum: 2, MaximumQoS: 1, HasMaximumQoS: true,
				WithoutRetain: true, MaximumPacketSize: 9, AssignedClientID: "id", TopicAliasMaximum: 3, Reason: "why",
				User: []user{{"k", "v"}}, WithoutWildcards: true, WithoutSubIDs: true, WithoutShared: true,
				ServerKeepAlive: 30, HasServerKeepAlive: true, ResponseInfo: "info", ServerReference: "other",
				AuthMethod: "M", AuthData: []byte("d"), HasAuthData: true,
			}},
		},
		"a PUBLISH of QoS 0 without payload": {
			in: pkt(0x30, "a"), v: packet.V311,
			want: &packet.Publish{Topic: []byte("a")},
		},
		"a PUBLISH of QoS 2, resent, retained": {
			in: pkt(0x3D, "a", 0, 7, 'x'), v: packet.V31,
			want: &packet.Publish{Dup: true, QoS: 2, Retain: true, Topic: []byte("a"), ID: 7, Payload: []byte("x")},
		},
		"a PUBLISH of QoS 0 with DUP, which 3.1 does not forbid": {
			in: pkt(0x38, "a"), v: packet.V31,
			want: &packet.Publish{Dup: true, Topic: []byte("a")},
		},
		"a PUBLISH of 5.0 that is a topic alias only": {
			in: pkt(0x30, "", props(0x23, 0, 1)), v: packet.V5,
			want: &packet.Publish{Alias: 1},
		},
		"a PUBLISH of 5.0 whose forwarded properties stand together": {
			in: pkt(0x32, "a", 0, 1, props(0x23, 0, 2, 0x01, 1, 0x03, "t", 0x08, "r", 0x09, "c", 0x26, "k", "v", 0x02, 0, 0, 0, 8), 'x'), v: packet.V5,
			want: &packet.Publish{
				QoS: 1, Topic: []byte("a"), ID: 1, Payload: []byte("x"), Alias: 2, Expiry: 8, HasExpiry: true,
				Forward: raw(0x01, 1, 0x03, "t", 0x08, "r", 0x09, "c", 0x26, "k", "v"),
			},
		},
		"a PUBLISH of 5.0 whose forwarded properties stand apart": {
			in: pkt(0x30, "a", props(0x26, "k", "1", 0x02, 0, 0, 0, 8, 0x26, "k", "2", 0x23, 0, 2, 0x01, 0, 0x03, ""), 'x'), v: packet.V5,
			want: &packet.Publish{
				Topic: []byte("a"), Payload: []byte("x"), Alias: 2, Expiry: 8, HasExpiry: true,
				Forward: raw(0x26, "k", "1", 0x26, "k", "2", 0x01, 0, 0x03, ""),
			},
		},
		"a PUBLISH from a server with two subscription identifiers": {
			in: pkt(0x30, "a", props(0x0B, 1, 0x0B, 0x80, 1)), v: packet.V5, from: packet.FromServer,
			want: &packet.Publish{Topic: []byte("a"), SubscriptionIDs: []uint32{1, 128}},
		},
		"a PUBACK of 5.0 without a code": {
			in: pkt(0x40, 0, 1), v: packet.V5, want: &packet.Ack{ID: 1},
		},
		"a PUBREC of 5.0 with a code and no properties": {
			in: pkt(0x50, 0, 1, 0x97), v: packet.V5, want: &packet.Ack{ID: 1, Code: packet.QuotaExceeded},
		},
		"a PUBCOMP of 5.0 with a reason": {
			in: pkt(0x70, 0, 1, 0x92, props(0x1F, "no", 0x26, "k", "v")), v: packet.V5,
			want: &packet.Ack{ID: 1, Code: packet.PacketIdentifierNotFound, Reason: "no", User: []user{{"k", "v"}}},
		},
		"a SUBSCRIBE of 3.1.1 with two filters": {
			in: pkt(0x82, 0, 9, "a/+", 1, "#", 2), v: packet.V311,
			want: &packet.Subscribe{ID: 9, Filters: []packet.Subscription{{Filter: "a/+", QoS: 1}, {Filter: "#", QoS: 2}}},
		},
		"a SUBSCRIBE of 5.0 with every option": {
			in: pkt(0x82, 0, 9, props(0x0B, 0x7F, 0x26, "k", "v"), "a", 0x2E), v: packet.V5,
			want: &packet.Subscribe{ID: 9, SubscriptionID: 127, User: []user{{"k", "v"}}, Filters: []packet.Subscription{
				{Filter: "a", QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 2},
			}},
		},
		"a SUBACK of 3.1.1": {
			in: pkt(0x90, 0, 9, 0, 2, 0x80), v: packet.V311,
			want: &packet.Suback{ID: 9, Codes: []packet.Code{0, 2, 0x80}},
		},
		"a SUBACK of 5.0": {
			in: pkt(0x90, 0, 9, props(0x1F, "no", 0x26, "k", "v"), 0x87, 1), v: packet.V5,
			want: &packet.Suback{ID: 9, Reason: "no", User: []user{{"k", "v"}}, Codes: []packet.Code{0x87, 1}},
		},
		"an UNSUBSCRIBE of 5.0": {
			in: pkt(0xA2, 0, 9, props(0x26, "k", "v"), "a", "b"), v: packet.V5,
			want: &packet.Unsubscribe{ID: 9, User: []user{{"k", "v"}}, Filters: []string{"a", "b"}},
		},
		"an UNSUBACK of 3.1.1, which has no codes": {
			in: pkt(0xB0, 0, 9), v: packet.V311, want: &packet.Suback{ID: 9},
		},
		"an UNSUBACK of 5.0": {
			in: pkt(0xB0, 0, 9, props(), 0, 0x11), v: packet.V5,
			want: &packet.Suback{ID: 9, Codes: []packet.Code{0, 0x11}},
		},
		"a PINGREQ": {in: pkt(0xC0), v: packet.V31},
		"a DISCONNECT of 3.1.1": {
			in: pkt(0xE0), v: packet.V311, want: &packet.Disconnect{},
		},
		"a DISCONNECT of 5.0 from a client": {
			in: pkt(0xE0, 4, props(0x11, 0, 0, 0, 9)), v: packet.V5,
			want: &packet.Disconnect{Code: packet.DisconnectWithWill, SessionExpiry: 9, HasSessionExpiry: true},
		},
		"a DISCONNECT of 5.0 from a server": {
			in: pkt(0xE0, 0x9D, props(0x1C, "s", 0x1F, "why", 0x26, "k", "v")), v: packet.V5, from: packet.FromServer,
			want: &packet.Disconnect{Code: packet.ServerMoved, ServerReference: "s", Reason: "why", User: []user{{"k", "v"}}},
		},
		"an AUTH with everything": {
			in: pkt(0xF0, 0x18, props(0x15, "M", 0x16, "d", 0x1F, "why", 0x26, "k", "v")), v: packet.V5,
			want: &packet.Auth{
				Code: packet.ContinueAuthentication, Method: "M", HasMethod: true, Data: []byte("d"), HasData: true,
				Reason: "why", User: []user{{"k", "v"}},
			},
		},
		"an AUTH from a server without a body is a success": {
			in: pkt(0xF0), v: packet.V5, from: packet.FromServer, want: &packet.Auth{},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, err := split(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if err := packet.CheckFlags(f, tt.v); err != nil {
				t.Fatal(err)
			}
			got, err := parse(f, tt.v, tt.from)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("parsed differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestForwardedPropertiesComeApartAndTogether(t *testing.T) {
	want := packet.ForwardProperties{
		PayloadFormat: 1, HasPayloadFormat: true, ContentType: "text/plain", ResponseTopic: "r/1",
		CorrelationData: []byte{0, 1}, HasCorrelation: true, User: []packet.UserProperty{{Key: "k", Value: "v"}},
	}
	b := packet.AppendForward(nil, &want)
	got, err := packet.ParseForward(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("properties differ (-want +got):\n%s", diff)
	}
	if _, err := packet.ParseForward(raw(0x23, 0, 1)); err == nil {
		t.Error("a topic alias passed as a forwarded property")
	}
}

func TestOptionalPropertiesGiveWayToTheLimit(t *testing.T) {
	const long = "a reason that takes more room than the peer allows"
	users := []packet.UserProperty{{Key: "key", Value: "value"}}
	tests := map[string]struct {
		encode func(limit uint32) []byte
		short  int
	}{
		"CONNACK": {func(limit uint32) []byte {
			return packet.AppendConnack(nil, &packet.Connack{ConnackProperties: packet.ConnackProperties{Reason: long, User: users}}, packet.V5, limit)
		}, 5},
		"PUBACK": {func(limit uint32) []byte {
			return packet.AppendAck(nil, packet.PUBACK, &packet.Ack{ID: 1, Code: packet.NotAuthorized, Reason: long, User: users}, packet.V5, limit)
		}, 5},
		"SUBACK": {func(limit uint32) []byte {
			return packet.AppendSuback(nil, packet.SUBACK, &packet.Suback{ID: 1, Reason: long, User: users, Codes: []packet.Code{1}}, packet.V5, limit)
		}, 6},
		"UNSUBACK": {func(limit uint32) []byte {
			return packet.AppendSuback(nil, packet.UNSUBACK, &packet.Suback{ID: 1, Reason: long, User: users, Codes: []packet.Code{0}}, packet.V5, limit)
		}, 6},
		"DISCONNECT": {func(limit uint32) []byte {
			return packet.AppendDisconnect(nil, &packet.Disconnect{Code: packet.ServerBusy, Reason: long, User: users}, packet.V5, limit)
		}, 3},
		"AUTH": {func(limit uint32) []byte {
			return packet.AppendAuth(nil, &packet.Auth{Code: packet.ContinueAuthentication, Reason: long, User: users}, limit)
		}, 4},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			whole := tt.encode(0)
			if got := tt.encode(uint32(len(whole))); len(got) != len(whole) {
				t.Errorf("a limit that just fits gave %d bytes, want %d", len(got), len(whole))
			}
			got := tt.encode(uint32(len(whole)) - 1)
			if len(got) != tt.short {
				t.Errorf("a limit one byte too small gave %d bytes, want %d: % x", len(got), tt.short, got)
			}
			f, err := split(got)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parse(f, packet.V5, packet.FromServer); err != nil {
				t.Errorf("what is left does not parse: %v", err)
			}
		})
	}
}
