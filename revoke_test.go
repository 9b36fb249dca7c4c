package fantail_test

import (
	"context"
	"testing"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/packet"
)

const (
	bobWrites  = "access: {rules: [{allow: subscribe, topic: '#'}, {allow: publish, user: bob, topic: '#'}]}\n"
	bobWritesB = "access: {rules: [{allow: subscribe, topic: '#'}, {allow: publish, user: bob, topic: home/b}]}\n"
)

// What is retained goes with the right of its publisher.
func TestARetainedMessageGoesWithTheRightOfItsPublisher(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		r := rule(t, transport, bobWrites, nil)
		bob, ann := r.bob(t), r.ann(t)
		bob.keep("home/a", "1")
		bob.keep("home/b", "2")
		r.will(t, "home/will")
		ann.to("home/#", 1).hears("1", "2", "the will")
		if err := r.reload(t, bobWritesB); err != nil {
			t.Fatal(err)
		}
		stop, err := r.Subscribe("home/a", func(fantail.Message) { t.Error("it came to a subscriber inside") })
		if err != nil {
			t.Fatal(err)
		}
		r.reaches(t, `messages_dropped_total{reason="retained_revoked"}`, 1)
		stop()
		r.device(t, "another", account("ann", "pencil")).to("home/#", 1).hears("2")
		r.reaches(t, `messages_dropped_total{reason="retained_revoked"}`, 2)
		if n := r.figure(t, "retained_messages"); n != 1 {
			t.Errorf("%v are retained, want 1", n)
		}
		r.log.wait(t, "retained message removed", "reason=retained_revoked", "topic=home/a", "client=b", "user=bob", "no rule matches")
		if err := r.reload(t, bobWrites); err != nil {
			t.Fatal(err)
		}
		r.device(t, "late", account("ann", "pencil")).to("home/#", 1).hears("2") // what is gone does not come back
	})
}

// will has one of bob's published and retained.
func (r *ruled) will(t *testing.T, topic string) {
	t.Helper()
	w, _ := r.connect(t, "w", account("bob", "eraser", func(c *packet.Connect) {
		c.Will = &packet.Will{Topic: topic, Payload: []byte("the will"), Retain: true, QoS: 1}
	}))
	w.lose()
	r.reaches(t, "retained_messages", 3)
}

// Who published is known after a restart.
func TestARetainedMessageGoesWithTheRightOfItsPublisherAfterARestart(t *testing.T) {
	r := rule(t, onDisk, bobWrites, nil)
	bob := r.bob(t)
	bob.keep("home/a", "1")
	bob.keep("home/b", "2")
	again := func(access string) {
		t.Helper()
		r.stop()
		<-r.done
		r.config = r.load(t, access)
		r.server = serve(t, onDisk, r.config, nil)
	}
	again(bobWritesB)
	r.ann(t).to("home/#", 1).hears("2")
	again(bobWrites)
	r.ann(t).to("home/#", 1).hears("2")
}

// ruledGrants gives some users what no rule of the broker tells.
type ruledGrants struct{ t *testing.T }

func (g ruledGrants) Authenticate(_ context.Context, r *fantail.ConnectRequest) (*fantail.Grant, error) {
	grant := &fantail.Grant{By: "the test"}
	switch r.UserName {
	case "token":
		rules, err := access.Compile([]access.Rule{{Effect: access.Allow, Actions: access.Publish, Topics: []string{"#"}}})
		if err != nil {
			g.t.Error(err)
		}
		grant.Rules = rules
	case "root":
		grant.Superuser = true
	case "member":
		grant.Groups = []string{"writers"}
	default:
	}
	return grant, nil
}

// What cannot be asked about without the connection stays.
func TestARetainedMessageStaysIfNobodyKnowsItsPublishersRights(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		const rules = "{allow: subscribe, topic: '#'}, {allow: publish, group: writers, topic: 'g/#'}"
		r := &ruled{folder: t.TempDir()}
		r.config = r.load(t, "access: {rules: ["+rules+"]}\n")
		r.server = serve(t, transport, r.config, func(b *fantail.Broker) { b.UseAuthenticator(ruledGrants{t}) })
		if err := r.Publish(t.Context(), fantail.Message{Topic: "i", Payload: []byte("i"), Retain: true}); err != nil {
			t.Fatal(err)
		}
		for user, topic := range map[string]string{"token": "t", "root": "r", "member": "g/m"} {
			if code := r.device(t, user, as(user)).keep(topic, topic); code.Failed() {
				t.Fatalf("%s: %v", user, code)
			}
		}
		if err := r.reload(t, "access: {rules: ["+rules+", {deny: publish, topic: x}]}\n"); err != nil {
			t.Fatal(err)
		}
		r.device(t, "ann", as("ann")).to("#", 1).hears("g/m", "i", "r", "t")
		if err := r.reload(t, "access: {rules: [{allow: subscribe, topic: '#'}]}\n"); err != nil { // no group may any more
			t.Fatal(err)
		}
		r.device(t, "late", as("ann")).to("#", 1).hears("i", "r", "t")
	})
}
