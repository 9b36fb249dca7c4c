package device

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/broker"
	"github.com/fantail-mqtt/fantail/internal/managed"
	"github.com/fantail-mqtt/fantail/internal/wheel"
	"github.com/fantail-mqtt/fantail/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ auth.Step = (*Devices)(nil)

// fixture are devices in a broker, and which connections they send away.
type fixture struct {
	*Devices
	connected []*access.Info
	kicked    int
}

func devices(t testing.TB, window time.Duration) *fixture {
	t.Helper()
	w := wheel.New()
	b := broker.New(broker.Options{Log: broker.Memory{}, Logger: slog.New(slog.DiscardHandler), Wheel: w})
	t.Cleanup(func() {
		b.Close()
		w.Close()
	})
	f := &fixture{}
	f.Devices = New(Options{
		Settings: b, Secret: auth.NewSecret(), Window: window, Kick: f.kick, Logger: slog.New(slog.DiscardHandler),
	})
	return f
}

func (f *fixture) kick(meant func(*access.Info) bool, _ *packet.Refusal) (n int) {
	for _, i := range f.connected {
		if meant(i) {
			n++
		}
	}
	f.kicked += n
	return n
}

func (f *fixture) put(t testing.TB, name, body string) {
	t.Helper()
	if _, err := f.Put(t.Context(), name, []byte(body), false); err != nil {
		t.Fatal(err)
	}
}

func asks(client, user, password string) *access.Request {
	return &access.Request{ClientID: client, UserName: user, HasUserName: true, Password: []byte(password), HasPassword: true}
}

// Of these it is published what they send: of the first in Alibaba's manual, of
// the others in that of LuatOS.
const (
	alibabaID     = "alibaba/a14Xib5kdYd/light1983432"
	alibabaSecret = "oLyaKqVxtRvjH284LdhqVgVUx1UPy6zq"
	luatID        = "alibaba/a1B2c3D4e5F/sensor_001"
	luatSecret    = "Y877Bgo8X5owd3lcB5wWDjryNPoB"
	baiduID       = "baidu/mydevice"
	baiduSecret   = "ImSeCrEt0I1M2jkl"
)

func TestPasswordsComeOfTheKey(t *testing.T) {
	f := devices(t, 0)
	if r := asks("c", "light&pk", "x"); f.Concerns(r) || f.Check(t.Context(), r).Verdict != auth.Ignore {
		t.Error("no devices concern somebody")
	}
	f.put(t, luatID, `{"key":"`+luatSecret+`"}`)
	f.put(t, "alibaba/pk/dn", `{"key":"secret"}`)
	f.put(t, "alibaba/pk/off", `{"key":"secret","disabled":true}`)
	f.put(t, baiduID, `{"key":"`+baiduSecret+`"}`)
	f.put(t, "baidu/bound", `{"key":"`+baiduSecret+`","instance":"abcd123"}`)
	f.put(t, "adafruit/ann", `{"key":"aio_abc"}`)
	sum := func(text string) string {
		h := hmac.New(md5.New, []byte("secret"))
		h.Write([]byte(text))
		return hex.EncodeToString(h.Sum(nil))
	}
	const luatSum = "26DC1595358D45D373FBE40B54540C0D8763DABDE7F1CBB263FF4067A93F7150"
	luat := "a1B2c3D4e5F.sensor_001|securemode=2,signmethod=hmacsha256,timestamp=324721152001213|"
	md5sum := sum("clientIdcdeviceNamednproductKeypk")
	for name, c := range map[string]struct {
		client, user, password string
		verdict                auth.Verdict
		why                    string
	}{
		"Alibaba, with a timestamp":     {luat, "sensor_001&a1B2c3D4e5F", luatSum, auth.Allow, "comes of the device's key"},
		"Alibaba, in small letters":     {luat, "sensor_001&a1B2c3D4e5F", strings.ToLower(luatSum), auth.Allow, ""},
		"Alibaba, in another order":     {"a1B2c3D4e5F.sensor_001|timestamp=324721152001213,_ss=1,_v=sdk-c-4.1,securemode=2,signmethod=hmacsha256,ext=3,|", "sensor_001&a1B2c3D4e5F", luatSum, auth.Allow, ""},
		"Alibaba, another client id":    {"x" + luat, "sensor_001&a1B2c3D4e5F", luatSum, auth.Deny, "does not come of the key of alibaba/a1B2c3D4e5F/sensor_001"},
		"Alibaba, another timestamp":    {strings.Replace(luat, "213|", "214|", 1), "sensor_001&a1B2c3D4e5F", luatSum, auth.Deny, "does not come"},
		"Alibaba, another device":       {luat, "dn&pk", luatSum, auth.Deny, "does not come of the key of alibaba/pk/dn"},
		"Alibaba, a device without one": {luat, "sensor_002&a1B2c3D4e5F", luatSum, auth.Ignore, "there is no device alibaba/a1B2c3D4e5F/sensor_002"},
		"Alibaba, half of it":           {luat, "sensor_001&a1B2c3D4e5F", luatSum[:32], auth.Deny, "does not come"},
		"Alibaba, not hexadecimal":      {luat, "sensor_001&a1B2c3D4e5F", "zz" + luatSum[2:], auth.Deny, "does not come"},
		"Alibaba, without a timestamp":  {"c|securemode=3,signmethod=hmacmd5|", "dn&pk", md5sum, auth.Allow, ""},
		"Alibaba, MD5 by default":       {"c|securemode=3|", "dn&pk", md5sum, auth.Allow, ""},
		"Alibaba, an empty client id":   {"|securemode=3|", "dn&pk", sum("clientIddeviceNamednproductKeypk"), auth.Allow, ""},
		"Alibaba, an unknown method":    {"c|signmethod=hmacsha512|", "dn&pk", md5sum, auth.Deny, `signmethod="hmacsha512" is not`},
		"Alibaba, no HMAC":              {"c|signmethod=md5|", "dn&pk", md5sum, auth.Deny, `signmethod="md5" is not`},
		"Alibaba, without its tail":     {"c", "dn&pk", md5sum, auth.Deny, "the client id does not end in |securemode"},
		"Alibaba, disabled":             {"c|securemode=3|", "off&pk", md5sum, auth.Deny, "the device alibaba/pk/off is disabled"},
		"Alibaba, a path":               {"c|securemode=3|", "x/dn&pk", md5sum, auth.Ignore, "there is no device"},
		"Baidu, SHA256":                 {"c", "thingidp@abcd123|mydevice|32472115200|SHA256", "0e2e78921783530a6402f64b4265abbaa4fefb5f5da10af556d0c5b676c52836", auth.Allow, ""},
		"Baidu, MD5":                    {"c", "thingidp@abcd123|mydevice|0|MD5", "22bc75231495220c7a2202fe15f7d286", auth.Allow, ""},
		"Baidu, without a timestamp":    {"c", "thingidp@abcd123|mydevice|MD5", "22bc75231495220c7a2202fe15f7d286", auth.Allow, ""},
		"Baidu, the shortest":           {"c", "thingidp@abcd123|mydevice", "22BC75231495220C7A2202FE15F7D286", auth.Allow, ""},
		"Baidu, empty fields":           {"c", "thingidp@abcd123|mydevice||", "22bc75231495220c7a2202fe15f7d286", auth.Allow, ""},
		"Baidu, another timestamp":      {"c", "thingidp@abcd123|mydevice|1|MD5", "22bc75231495220c7a2202fe15f7d286", auth.Deny, "does not come"},
		"Baidu, an unknown algorithm":   {"c", "thingidp@abcd123|mydevice|0|SHA1", "22bc75231495220c7a2202fe15f7d286", auth.Deny, `the algorithm "SHA1" is not MD5 or SHA256`},
		"Baidu, another instance":       {"c", "thingidp@other|bound|0|MD5", "", auth.Deny, "another instance"},
		"Baidu, too many fields":        {"c", "thingidp@a|mydevice|0|MD5|x", "", auth.Ignore, "not of the form"},
		"Adafruit":                      {"c", "ann", "aio_abc", auth.Allow, ""},
		"Adafruit, another key":         {"c", "ann", "aio_abd", auth.Deny, "does not come"},
		"Adafruit, no key":              {"c", "ann", "", auth.Deny, "does not come"},
		"Adafruit, nobody":              {"c", "eve", "aio_abc", auth.Ignore, "there is no device adafruit/eve"},
	} {
		t.Run(name, func(t *testing.T) {
			r := asks(c.client, c.user, c.password)
			a := f.Check(t.Context(), r)
			if a.Verdict != c.verdict || !strings.Contains(a.Why, c.why) {
				t.Errorf("%s: %s, want %s: %s", a.Verdict, a.Why, c.verdict, c.why)
			}
			if a.Verdict != auth.Ignore && !f.Concerns(r) {
				t.Error("it does not concern the step")
			}
			if strings.Contains(a.Why+a.Do, "secret\"") || strings.Contains(a.Why+a.Do, c.password) && c.password != "" {
				t.Error("the owner reads the password")
			}
		})
	}
	if f.Concerns(asks("c", "bob", "x")) || f.Concerns(&access.Request{}) {
		t.Error("a name without a device concerns the step")
	}
}

func TestTheExampleOfAlibabaCloud(t *testing.T) {
	f := devices(t, 0)
	f.put(t, alibabaID, `{"key":"`+alibabaSecret+`"}`)
	r := asks("SN1928339|securemode=3,signmethod=hmacsha1,timestamp=1539421321846|", "light1983432&a14Xib5kdYd", "b2488041f64f425016b467ee1c94959ebd592ad1")
	if a := f.Check(t.Context(), r); a.Verdict != auth.Allow {
		t.Errorf("%s: %s", a.Verdict, a.Why)
	}
}

func TestAGrantNamesTheDevice(t *testing.T) {
	f := devices(t, 0)
	f.put(t, luatID, `{"key":"`+luatSecret+`","groups":["lamps"],"attributes":{"site":"b1"},"limits":"small"}`)
	f.put(t, baiduID, `{"key":"`+baiduSecret+`"}`)
	for _, c := range []struct {
		r                  *access.Request
		client, user, made string
	}{
		{
			asks("gw|securemode=2,signmethod=hmacsha256|", "sensor_001&a1B2c3D4e5F", signed("clientIdgwdeviceNamesensor_001productKeya1B2c3D4e5F")), "gw",
			"sensor_001&a1B2c3D4e5F", "map[cloud:alibaba device:sensor_001 product:a1B2c3D4e5F site:b1]",
		},
		{
			asks("|signmethod=hmacsha256|", "sensor_001&a1B2c3D4e5F", signed("clientIddeviceNamesensor_001productKeya1B2c3D4e5F")), "a1B2c3D4e5F.sensor_001",
			"sensor_001&a1B2c3D4e5F", "map[cloud:alibaba device:sensor_001 product:a1B2c3D4e5F site:b1]",
		},
		{
			asks("x", "thingidp@abcd123|mydevice|0|MD5", "22bc75231495220c7a2202fe15f7d286"), "",
			"thingidp@abcd123|mydevice", "map[cloud:baidu device:mydevice]",
		},
	} {
		g := f.Check(t.Context(), c.r).Grant
		if g.ClientID != c.client || g.UserName != c.user || fmt.Sprint(g.Attributes) != c.made || !g.Holds() {
			t.Errorf("%+v, want %+v", g, c)
		}
	}
}

func signed(text string) string {
	h := hmac.New(sha256.New, []byte(luatSecret))
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

func TestADeviceHasItsOwnTopics(t *testing.T) {
	all := func(topics ...string) (list []string) {
		for _, topic := range topics {
			list = append(list, "publish "+topic, "subscribe "+topic, "receive "+topic)
		}
		return list
	}
	reads := func(topic string) []string { return []string{"subscribe " + topic, "receive " + topic} }
	for name, c := range map[string]struct {
		id, body        string
		allowed, denied []string
	}{
		"Alibaba": {
			"alibaba/pk/dn", `{"key":"k"}`,
			append(all("/sys/pk/dn/thing/event/property/post", "/pk/dn/user/update", "/ota/device/inform/pk/dn", "/ext/ntp/pk/dn/request",
				"/ext/session/pk/dn/combine/login", "/ext/rrpc/42//pk/dn/user/get", "/shadow/update/pk/dn", "/sys/pk/dn"), reads("/broadcast/pk/x")...),
			append(all("/sys/pk/other/thing/event/property/post", "/pk/other/user/update", "/ota/device/inform/pk/other", "/shadow/get/pk/other",
				"/ext/ntp/pk/other/request", "pk/dn/x", "x", "/sys/+/dn/#", "#", "/sys/pk/dn2/x", "$SYS/broker/uptime"), "publish /broadcast/pk/x"),
		},
		"Baidu": {
			"baidu/dev", `{"key":"k"}`, all("$iot/dev/events", "$iot/dev/user/x", "$iot/dev/msg"),
			all("$iot/dev2/events", "$iot/+/events", "$iot/#", "#", "x", "iot/dev/events"),
		},
		"Adafruit": {
			"adafruit/ann", `{"key":"k"}`,
			append(append(all("ann/feeds/x", "ann/f/x", "ann/groups/g/json", "ann/g/x"), reads("ann/throttle")...), append(reads("ann/errors"), reads("time/seconds")...)...),
			append(all("bob/feeds/x", "ann/x", "+/feeds/x", "#"), "publish ann/throttle", "publish ann/errors", "publish time/seconds"),
		},
		"with more": {
			"adafruit/ann", `{"key":"k","rules":[{"allow":["subscribe","receive"],"topic":"news/#"},{"deny":"publish","topic":"ann/feeds/locked"}]}`,
			append(reads("news/today"), all("ann/feeds/x")...),
			[]string{"publish news/today", "publish ann/feeds/locked", "publish x"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := devices(t, 0)
			f.put(t, c.id, c.body)
			dev, _ := f.table.Get(c.id)
			may, err := rules(c.id, &dev)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range c.allowed {
				if d := may.Decide(&access.Info{}, ask(text)); !d.Matched || !d.Allowed {
					t.Errorf("%s is not allowed: %+v", text, d)
				}
			}
			for _, text := range c.denied {
				if d := may.Decide(&access.Info{}, ask(text)); !d.Matched || d.Allowed {
					t.Errorf("%s is not denied: %+v", text, d)
				}
			}
		})
	}
	f := devices(t, 0)
	f.put(t, "baidu/free", `{"key":"k","topics":"rules"}`)
	dev, _ := f.table.Get("baidu/free")
	if may, err := rules("baidu/free", &dev); may != nil || err != nil {
		t.Errorf("%v, %v, want no rules of its own", may, err)
	}
}

func ask(text string) access.Ask {
	action, topic, _ := strings.Cut(text, " ")
	return access.Ask{Action: map[string]access.Action{"publish": access.Publish, "subscribe": access.Subscribe, "receive": access.Receive}[action], Topic: topic}
}

func TestTimestampsAreHeldToAWindow(t *testing.T) {
	f := devices(t, 10*time.Minute)
	f.put(t, luatID, `{"key":"`+luatSecret+`"}`)
	f.put(t, baiduID, `{"key":"`+baiduSecret+`"}`)
	f.put(t, "adafruit/ann", `{"key":"aio_abc"}`)
	alibaba := func(at time.Time) *access.Request {
		stamp := strconv.FormatInt(at.UnixMilli(), 10)
		return asks("c|signmethod=hmacsha256,timestamp="+stamp+"|", "sensor_001&a1B2c3D4e5F", signed("clientIdcdeviceNamesensor_001productKeya1B2c3D4e5Ftimestamp"+stamp))
	}
	baidu := func(at time.Time) *access.Request {
		stamp := strconv.FormatInt(at.Unix(), 10)
		sum := md5.Sum([]byte("mydevice&" + stamp + "&MD5" + baiduSecret))
		return asks("c", "thingidp@abcd123|mydevice|"+stamp+"|MD5", hex.EncodeToString(sum[:]))
	}
	now := time.Now()
	for name, c := range map[string]struct {
		r   *access.Request
		why string // "": allowed
	}{
		"now":                {alibaba(now), ""},
		"a little early":     {alibaba(now.Add(9 * time.Minute)), ""},
		"old":                {alibaba(now.Add(-time.Hour)), "the timestamp is 1h0m0s off"},
		"in the future":      {alibaba(now.Add(24 * 365 * time.Hour)), "off"},
		"none":               {asks("c|signmethod=hmacsha256|", "sensor_001&a1B2c3D4e5F", signed("clientIdcdeviceNamesensor_001productKeya1B2c3D4e5F")), "there is no timestamp"},
		"Baidu, now":         {baidu(now), ""},
		"Baidu, old":         {baidu(now.Add(-time.Hour)), "the timestamp is 1h0m"},
		"Baidu, 0":           {asks("c", "thingidp@abcd123|mydevice|0|MD5", "22bc75231495220c7a2202fe15f7d286"), "there is no timestamp"},
		"Adafruit, has none": {asks("c", "ann", "aio_abc"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := f.Check(t.Context(), c.r)
			if (a.Verdict == auth.Allow) != (c.why == "") || !strings.Contains(a.Why, c.why) {
				t.Errorf("%s: %s, want %q", a.Verdict, a.Why, c.why)
			}
		})
	}
}

func TestAChangeSendsTheDeviceAway(t *testing.T) {
	f := devices(t, 0)
	for name, c := range map[string]struct {
		change func() error
		kicks  int
	}{
		"another key":   {func() error { return f.Patch(t.Context(), baiduID, []byte(`{"key":"x"}`)) }, 1},
		"disabled":      {func() error { return f.Patch(t.Context(), baiduID, []byte(`{"disabled":true}`)) }, 1},
		"removed":       {func() error { return f.Drop(t.Context(), baiduID) }, 1},
		"nothing new":   {func() error { return f.Patch(t.Context(), baiduID, []byte(`{"topics":"own"}`)) }, 0},
		"another":       {func() error { return f.Patch(t.Context(), "baidu/other", []byte(`{"limits":"x"}`)) }, 0},
		"imported over": {func() error { return imports(t, f, `{"name":"`+baiduID+`","key":"y"}`) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f.put(t, baiduID, `{"key":"`+baiduSecret+`","disabled":false}`)
			f.put(t, "baidu/other", `{"key":"k","limits":""}`)
			a := f.Check(t.Context(), asks("c", "thingidp@abcd123|mydevice", "22bc75231495220c7a2202fe15f7d286"))
			a.Grant.By = f.Name()
			f.connected, f.kicked = []*access.Info{{Grant: &a.Grant}, {Grant: &access.Grant{By: "jwt"}}, {}}, 0
			if err := c.change(); err != nil {
				t.Fatal(err)
			}
			if f.kicked != c.kicks {
				t.Errorf("%d kicked, want %d", f.kicked, c.kicks)
			}
		})
	}
}

func imports(t *testing.T, f *fixture, things ...string) error {
	var list []json.RawMessage
	for _, thing := range things {
		list = append(list, json.RawMessage(thing))
	}
	_, err := f.Import(t.Context(), list, true)
	return err
}

func TestWhatIsNoDeviceIsRefused(t *testing.T) {
	f := devices(t, 0)
	for name, c := range map[string]struct{ id, body, err string }{
		"no cloud":                  {"mydevice", `{"key":"k"}`, `"mydevice" names no device: write alibaba/`},
		"an unknown cloud":          {"aws/x", `{"key":"k"}`, "names no device"},
		"half a triple":             {"alibaba/pk", `{"key":"k"}`, "is not of the form alibaba/productKey/deviceName"},
		"too much":                  {"alibaba/pk/dn/x", `{"key":"k"}`, "is not of the form"},
		"a wildcard":                {"adafruit/+", `{"key":"k"}`, "is not of the form"},
		"a dollar":                  {"adafruit/$SYS", `{"key":"k"}`, "is not of the form"},
		"an ampersand":              {"alibaba/pk/a&b", `{"key":"k"}`, "is not of the form"},
		"a product that is a topic": {"alibaba/sys/pk", `{"key":"k"}`, `"sys" stands in topics for something else`},
		"a user that is a topic":    {"adafruit/time", `{"key":"k"}`, `"time" stands in topics for something else`},
		"a long name":               {"baidu/" + strings.Repeat("x", 129), `{"key":"k"}`, "is not of the form"},
		"no key":                    {"baidu/x", `{}`, "a device needs its key"},
		"an empty key":              {"baidu/x", `{"key":""}`, "a device needs its key"},
		"an instance of none":       {"adafruit/x", `{"key":"k","instance":"a"}`, "only devices of Baidu name one"},
		"unknown topics":            {"baidu/x", `{"key":"k","topics":"all"}`, `topics: "all" is not own or rules`},
		"a rule that is none":       {"baidu/x", `{"key":"k","rules":[{"allow":"fly","topic":"#"}]}`, "rules[0]."},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.Put(t.Context(), c.id, []byte(c.body), false)
			if err == nil || !strings.Contains(err.Error(), c.err) || !managed.IsKind(err, managed.Wrong) {
				t.Errorf("err = %v, want %q", err, c.err)
			}
		})
	}
}

func TestKeysAreNotShown(t *testing.T) {
	f := devices(t, 0)
	f.put(t, baiduID, `{"key":"`+baiduSecret+`"}`)
	f.put(t, "adafruit/ann", `{"key":"`+baiduSecret+`"}`)
	list, more := f.List("", 1)
	if len(list) != 1 || !more {
		t.Errorf("%v, %v", list, more)
	}
	rest, more := f.List("adafruit/ann", 1)
	one, err := f.Show(baiduID)
	if len(rest) != 1 || more || err != nil {
		t.Errorf("%v, %v, %v", rest, more, err)
	}
	text, err := json.Marshal(slices.Concat(list, rest, []any{one}))
	if err != nil || strings.Contains(string(text), baiduSecret) || !strings.Contains(string(text), `"name":"baidu/mydevice"`) {
		t.Errorf("%s, %v", text, err)
	}
	export, _ := f.Export("", 10)
	if text, err = json.Marshal(export[1]); err != nil || !strings.Contains(string(text), baiduSecret) {
		t.Errorf("%s, %v", text, err)
	}
	other := devices(t, 0)
	if err := imports(t, other, string(text)); err != nil || other.Count() != 1 {
		t.Errorf("%v, %d devices", err, other.Count())
	}
}

// Whatever a client says, it is let in by a key that fits alone.
func FuzzCheck(f *testing.F) {
	d := devices(f, 0)
	d.put(f, luatID, `{"key":"`+luatSecret+`"}`)
	d.put(f, baiduID, `{"key":"`+baiduSecret+`"}`)
	d.put(f, "adafruit/ann", `{"key":"aio_abc"}`)
	for _, r := range []*access.Request{
		asks("a|securemode=2,signmethod=hmacsha256,timestamp=1|", "sensor_001&a1B2c3D4e5F", strings.Repeat("0", 64)),
		asks("||", "&", ""), asks("|", "sensor_001&a1B2c3D4e5F", "00"), asks("c", "thingidp@abcd123|mydevice|0|MD5", strings.Repeat("0", 32)),
		asks("c", "thingidp@||||", "x"), asks("c", "ann", "aio_"), asks("", "", ""),
	} {
		f.Add(r.ClientID, r.UserName, r.Password)
	}
	f.Fuzz(func(t *testing.T, client, user string, password []byte) {
		a := d.Check(t.Context(), &access.Request{ClientID: client, UserName: user, HasUserName: true, Password: password})
		if a.Verdict == auth.Allow && string(password) != "aio_abc" {
			t.Fatalf("let in by %q", password)
		}
		if a.Failed {
			t.Fatal(a.Why)
		}
	})
}
