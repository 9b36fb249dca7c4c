// Package device is the step of the authentication for devices that connect as
// they do to a device cloud: with Alibaba Cloud's device triple, with Baidu's
// thingidp, or as to Adafruit IO with a user name and a key. So their firmware
// needs no other change than the address.
//
// A [Device] is kept with its key as it is, since what the device sends is
// computed from the key and not from a hash of it. It may use the topics that are
// its own in its cloud, and nothing else, unless it is told more: those rules are
// in its grant.
//
// As with accounts, a change is in force at once, and disconnects the device.
package device

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/managed"
	"github.com/fantail-mqtt/fantail/packet"
)

// Space is that of the devices among the settings.
const Space = "device"

// Device is a device as it is kept, under its identifier.
type Device struct {
	Key string `json:"key"`
	Terms
	Created time.Time `json:"created"`
}

// Terms are what a device is held to.
type Terms struct {
	// Instance is the IoTCoreId that a device of Baidu has to name; empty: any.
	Instance string `json:"instance,omitempty"`
	// Topics is OwnTopics, which empty stands for, or ByRules.
	Topics string `json:"topics,omitempty"`
	// Rules are asked before those of Topics.
	Rules      []access.Statement `json:"rules,omitempty"`
	Groups     []string           `json:"groups,omitempty"`
	Attributes map[string]string  `json:"attributes,omitempty"`
	Limits     string             `json:"limits,omitempty"`
	Disabled   bool               `json:"disabled,omitempty"`
}

// What a device may use.
const (
	OwnTopics = "own"   // the topics that are its own in its cloud
	ByRules   = "rules" // what the rules for everybody say
)

// Options of the step.
type Options struct {
	Settings managed.Settings
	Secret   auth.Secret // by which names without a device are treated
	// Window is how old or early a timestamp may be. 0: it is not looked at, since
	// most devices have no clock.
	Window time.Duration
	// LimitSet says whether there is a set of limits with a name. nil: any may be.
	LimitSet func(name string) bool
	// Kick ends the connections that are meant. May be nil.
	Kick   func(meant func(*access.Info) bool, why *packet.Refusal) int
	Logger *slog.Logger
}

// Devices is the step, and the table of devices.
type Devices struct {
	o     Options
	table *managed.Table[Device]
}

// New makes the step.
func New(o Options) *Devices {
	d := &Devices{o: o}
	d.table = managed.New(managed.Options[Device]{
		Settings: o.Settings, Space: Space, Noun: "device", Check: d.check, Changed: d.kick,
	})
	return d
}

// Count is how many devices there are.
func (d *Devices) Count() int { return d.table.Count() }

// Name implements auth.Step.
func (d *Devices) Name() string { return "devices" }

// Concerns implements auth.Step.
func (d *Devices) Concerns(r *access.Request) bool {
	if !r.HasUserName || d.Count() == 0 {
		return false
	}
	if strings.Contains(r.UserName, "&") || strings.HasPrefix(r.UserName, baiduPrefix) {
		return true
	}
	_, ok := d.table.Text(string(Adafruit) + "/" + r.UserName)
	return ok
}

// Check implements auth.Step.
func (d *Devices) Check(_ context.Context, r *access.Request) auth.Answer {
	if d.Count() == 0 {
		return auth.Passed("there are no devices")
	}
	c, ok := claimOf(r)
	if !ok {
		return auth.Passed("the user name is not of the form that devices have")
	}
	text, known := d.table.Text(c.id)
	dev := Device{Key: string(d.o.Secret.Decoy(c.id).StoredKey)}
	if known {
		if err := json.Unmarshal([]byte(text), &dev); err != nil {
			return auth.Failure("the device cannot be read: "+err.Error(), "remove it with fantail ctl device rm, and add it again")
		}
	}
	fits := c.fits(dev.Key)
	switch {
	case !known:
		return auth.Passed("there is no device " + c.id)
	case dev.Disabled:
		return refused("the device "+c.id+" is disabled", "let it in again with fantail ctl device enable")
	case c.mistake != "":
		return refused(c.mistake, "write it as the device's cloud wants it: docs/devices.md has an example")
	case dev.Instance != "" && dev.Instance != c.instance:
		return refused("the device is one of another instance", "correct the IoTCoreId in the device, or the device with fantail ctl device add --replace")
	case !fits:
		return refused("the password does not come of the key of "+c.id,
			"compare product key, device name and secret with those in the device; the client id is signed too")
	}
	if a, late := d.late(&c); late {
		return a
	}
	return d.allowed(&c, text, &dev)
}

func refused(why, do string) auth.Answer {
	return auth.Denied(packet.BadUserNameOrPassword, why, do)
}

// late says whether the timestamp is out of the window.
func (d *Devices) late(c *claim) (auth.Answer, bool) {
	if d.o.Window == 0 || c.kind == Adafruit {
		return auth.Answer{}, false
	}
	const do = "set the clock of the device, or do without with timestamp_window: 0 under auth.chain, devices"
	if !c.stamped {
		return refused("there is no timestamp, and timestamp_window asks for one", do), true
	}
	if off := time.Since(c.at).Abs(); off > d.o.Window {
		return refused(fmt.Sprintf("the timestamp is %v off", off.Truncate(time.Second)), do), true
	}
	return auth.Answer{}, false
}

// allowed is the grant of a device that was kept as text.
func (d *Devices) allowed(c *claim, text string, dev *Device) auth.Answer {
	may, err := rules(c.id, dev)
	if err != nil {
		return auth.Failure("the rules of the device cannot be read: "+err.Error(), "add it again with fantail ctl device add --replace")
	}
	attributes := maps.Clone(dev.Attributes)
	if attributes == nil {
		attributes = map[string]string{}
	}
	_, parts, _ := split(c.id)
	attributes["cloud"], attributes["device"] = string(c.kind), parts[len(parts)-1]
	if c.kind == Alibaba {
		attributes["product"] = parts[0]
	}
	return auth.Allowed(access.Grant{
		UserName: c.userName, ClientID: c.clientID, Groups: dev.Groups, Attributes: attributes, Limits: dev.Limits, Rules: may,
		Still: func() bool { return d.table.Is(c.id, text) },
	}, "the password comes of the device's key")
}

// kick disconnects devices that have changed.
func (d *Devices) kick(ids []string) {
	if d.o.Kick == nil {
		return
	}
	n := d.o.Kick(func(i *access.Info) bool {
		return i.Grant != nil && i.Grant.By == d.Name() && !i.Grant.Holds()
	}, packet.Refuse(packet.NotAuthorized, "the device has changed"))
	if n > 0 {
		d.o.Logger.Info("devices sent away since they have changed", slog.Int("clients", n), slog.Int("devices", len(ids)))
	}
}
