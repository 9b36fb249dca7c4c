package fantail_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

func TestReloadTakesLimitsOver(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		c := fantail.Config{Limits: fantail.Limits{Packet: 1 << 20, ReceiveMaximum: 10, TopicAliasMaximum: 10}}
		s := serve(t, transport, c, nil)
		before := s.device(t, "before", nil)
		c.Limits = fantail.Limits{Packet: 1000, Connections: 2, ReceiveMaximum: 2, TopicAliasMaximum: 2, QueueMessages: 1}
		if err := s.Reload(c); err != nil {
			t.Fatal(err)
		}
		after, ack := s.connect(t, "after", nil)
		if ack.MaximumPacketSize != 1000 {
			t.Errorf("CONNACK: maximum packet size %d, want 1000", ack.MaximumPacketSize)
		}
		if ack := s.dial(t).hello("third", nil); ack.Code != packet.QuotaExceeded {
			t.Errorf("CONNACK of one too many: %v", ack.Code)
		}
		// Who is connected was promised more.
		before.publish(packet.Publish{Topic: []byte("a"), Payload: make([]byte, 2000), QoS: 1})
		for _, w := range []*wire{before, after} {
			most := 10
			if w == after {
				most = int(ack.ReceiveMaximum)
			}
			var ids []uint16
			for range most {
				id := w.id()
				w.send(packet.AppendPublish(nil, &packet.Publish{Topic: []byte("a"), QoS: 2, ID: id}, w.v))
				w.ack(packet.PUBREC, id)
				ids = append(ids, id)
			}
			for _, id := range ids {
				w.answer(packet.PUBREL, id)
				w.ack(packet.PUBCOMP, id)
			}
		}
		before.publish(packet.Publish{Topic: []byte("a"), Alias: 10})
		before.quiet()
		after.publish(packet.Publish{Topic: []byte("a"), Alias: ack.TopicAliasMaximum})
		after.quiet()
		after.send(packet.AppendPublish(nil, &packet.Publish{Topic: []byte("a"), Payload: make([]byte, 2000)}, after.v))
		after.sentAway(packet.PacketTooLarge)
	})
}

func TestReloadRefusesMistakes(t *testing.T) {
	s := serve(t, "auto", fantail.Config{}, nil)
	if err := s.Reload(fantail.Config{Limits: fantail.Limits{InFlight: -1}}); err == nil {
		t.Error("no error")
	}
	s.device(t, "a", nil).quiet()
}

// identity is a certificate with its key in files.
type identity struct {
	cert, key string
	roots     *x509.CertPool
	valid     time.Duration // when, from now; for an hour before and after
}

// issue writes a certificate for 127.0.0.1 with this serial number.
func (i *identity) issue(t *testing.T, serial int64) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "fantail"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(i.valid - time.Hour), NotAfter: time.Now().Add(i.valid + time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{i.cert: {Type: "CERTIFICATE", Bytes: der}, i.key: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	i.roots = x509.NewCertPool()
	i.roots.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestReloadReadsCertificatesAnew(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		dir := t.TempDir()
		id := identity{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
		id.issue(t, 1)
		c := fantail.Config{Listeners: []fantail.Listener{listener(t, "tls://127.0.0.1:0?cert="+id.cert+"&key="+id.key)}}
		s := serve(t, transport, c, nil)
		dial := func() (*wire, int64) {
			conn, err := tls.Dial("tcp", s.mqtt[0], &tls.Config{RootCAs: id.roots})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			w := &wire{t: t, server: s, conn: conn}
			if ack := w.hello("", func(c *packet.Connect) { c.CleanStart = true }); ack.Code != packet.Success {
				t.Fatal(ack.Code)
			}
			return w, conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
		}
		first, serial := dial()
		if serial != 1 {
			t.Errorf("certificate %d, want 1", serial)
		}
		id.issue(t, 2)
		if err := s.Reload(c); err != nil {
			t.Fatal(err)
		}
		if _, serial := dial(); serial != 2 {
			t.Errorf("certificate %d, want 2", serial)
		}
		first.quiet() // still there
		if err := os.WriteFile(id.cert, []byte("nonsense"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Reload(c); err == nil {
			t.Error("no error of a certificate that cannot be read")
		}
		if _, serial := dial(); serial != 2 {
			t.Errorf("certificate %d, want 2", serial)
		}
	})
}

func TestTheEndOfRunSendsClientsAway(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		sub := s.device(t, "sub", nil).to("a", 0)
		five, old, nobody := s.device(t, "five", nil), s.old(t, "old"), s.dial(t)
		s.device(t, "pub", nil).say("a", "last")
		s.stop()
		<-s.done
		if p := sub.message(); string(p.Payload) != "last" {
			t.Errorf("%q came", p.Payload)
		}
		sub.sentAway(packet.ServerShuttingDown)
		five.sentAway(packet.ServerShuttingDown) // 0x8B
		old.ended()
		if _, err := nobody.read(); err == nil {
			t.Error("a packet came before CONNECT")
		}
		if n := len(s.log.having("client gone", "reason=server_shutting_down")); n != 4 {
			t.Errorf("%d clients were logged as gone, want 4", n)
		}
		if _, err := net.Dial("tcp", s.mqtt[0]); err == nil {
			t.Error("the listener still accepts")
		}
	})
}

func TestTheEndOfRunNamesAnotherServer(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{ServerReference: "other:1883"}, nil)
		w := s.device(t, "five", nil)
		s.stop()
		<-s.done
		if d := w.sentAway(packet.UseAnotherServer); d.ServerReference != "other:1883" {
			t.Errorf("server reference %q", d.ServerReference)
		}
	})
}

// What waits for a client that reads is sent before it goes.
func TestTheEndOfRunSendsWhatIsPending(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{PendingBytes: 32 << 20, Packet: 2 << 20}}, nil)
		sub := s.device(t, "sub", nil).to("a", 0)
		pub := s.device(t, "pub", nil)
		large := make([]byte, 1<<20)
		const n = 12 // more than the kernel buffers
		for range n {
			pub.publish(packet.Publish{Topic: []byte("a"), Payload: large})
		}
		pub.quiet()
		s.stop()
		for i := range n {
			if p := sub.message(); len(p.Payload) != len(large) {
				t.Fatalf("message %d has %d bytes", i, len(p.Payload))
			}
		}
		sub.sentAway(packet.ServerShuttingDown)
	})
}

func TestRunTwice(t *testing.T) {
	s := serve(t, "auto", fantail.Config{}, nil)
	s.stop()
	<-s.done
	if err := s.Run(t.Context()); !errors.Is(err, fantail.ErrRunning) {
		t.Errorf("the second Run: %v", err)
	}
}

func TestAPortInUseIsOneSentence(t *testing.T) {
	for _, transport := range []string{"auto", "portable"} {
		s := serve(t, transport, fantail.Config{}, nil)
		b, err := fantail.New(fantail.Config{
			Listeners: []fantail.Listener{listener(t, "tcp://127.0.0.1:0"), listener(t, "tcp://"+s.mqtt[0])},
			Loop:      fantail.Loop{Transport: transport},
		})
		if err != nil {
			t.Fatal(err)
		}
		err = b.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), s.mqtt[0]) || strings.Contains(err.Error(), "\n") {
			t.Errorf("err = %v", err)
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	s := serve(t, "auto", fantail.Config{}, nil)
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
		if status, body := s.get(t, path); status != 200 || body != want {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	for _, path := range []string{"/", "/nothing", "/debug/pprof/"} {
		if status, _ := s.get(t, path); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestReadinessEndsWithTheDrain(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{PendingBytes: 32 << 20, Packet: 2 << 20}}, nil)
		// A client that does not read holds the drain up for a moment.
		s.device(t, "sub", nil).to("a", 0)
		pub := s.device(t, "pub", nil)
		for range 12 {
			pub.publish(packet.Publish{Topic: []byte("a"), Payload: make([]byte, 1<<20)})
		}
		pub.quiet()
		s.stop()
		eventually(t, func() bool {
			status, body := s.get(t, "/readyz")
			return status == 503 && body == "shutting down\n"
		}, func() any { return "readyz does not say that it is shutting down" })
		if status, _ := s.get(t, "/healthz"); status != 200 {
			t.Errorf("/healthz while draining: %d", status)
		}
	})
}

func TestMetricsHaveNoLabelPerClient(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, func(b *fantail.Broker) { b.UseVersion("1.2.3") })
		sub := s.device(t, "secret-client", nil).to("secret/topic", 2)
		pub := s.device(t, "secret-publisher", func(c *packet.Connect) { c.HasUserName, c.UserName = true, "secret-user" })
		for qos := range byte(3) {
			pub.publish(packet.Publish{Topic: []byte("secret/topic"), Payload: []byte("x"), QoS: qos, Retain: true})
			sub.take()
		}
		sub.quiet()
		s.device(t, "secret-bad", nil).send([]byte{0, 0})
		s.dial(t).send([]byte("GET / HTTP/1.1\r\n\r\n"))
		s.reaches(t, `connections_closed_total{reason="malformed_packet"}`, 1)
		for name, want := range map[string]float64{
			`publish_received_total{qos="0"}`: 1, `publish_received_total{qos="1"}`: 1, `publish_received_total{qos="2"}`: 1,
			`publish_sent_total{qos="0"}`: 1, `publish_sent_total{qos="1"}`: 1, `publish_sent_total{qos="2"}`: 1,
			"clients_connected": 2, "sessions": 2, "subscriptions": 1, "retained_messages": 1,
			"queue_messages": 0, "queue_bytes": 0, "takeovers_total": 0, `info{version="1.2.3"}`: 1,
		} {
			if got := s.figure(t, name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		for _, name := range []string{"received_bytes_total", "sent_bytes_total", "packets_received_total", "retained_bytes", "loop_ticks_total", "loop_flushes_total"} {
			if s.figure(t, name) <= 0 {
				t.Errorf("%s is not above 0", name)
			}
		}
		_, text := s.get(t, "/metrics")
		if strings.Contains(text, "secret") {
			t.Error("a client or topic is named")
		}
		var labels []string
		for _, m := range regexp.MustCompile(`(?m)^fantail_[a-z_]+\{([a-z_]+)=`).FindAllStringSubmatch(text, -1) {
			if !slices.Contains(labels, m[1]) {
				labels = append(labels, m[1])
			}
		}
		slices.Sort(labels)
		if want := []string{"qos", "reason", "step", "version"}; !slices.Equal(labels, want) {
			t.Errorf("the labels are %v, want %v", labels, want)
		}
	})
}
