package device

import (
	"context"
	"encoding/json"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/managed"
)

// Input is a device as somebody sends it. What is nil is not said.
type Input struct {
	Key        *string             `json:"key"`
	Instance   *string             `json:"instance"`
	Topics     *string             `json:"topics"`
	Rules      *[]access.Statement `json:"rules"`
	Groups     *[]string           `json:"groups"`
	Attributes *map[string]string  `json:"attributes"`
	Limits     *string             `json:"limits"`
	Disabled   *bool               `json:"disabled"`
	Created    *time.Time          `json:"created"` // when it is not now
}

// View is a device as it is shown: without its key.
type View struct {
	Name string `json:"name"`
	Terms
	Created time.Time `json:"created"`
}

// Named is a device with its name and its key.
type Named struct {
	Name string `json:"name"`
	Device
}

// List are up to n devices with names behind another, in order.
func (d *Devices) List(after string, n int) (list []any, more bool) {
	for name, dev := range d.table.Behind(after) {
		if len(list) == n {
			return list, true
		}
		list = append(list, View{name, dev.Terms, dev.Created})
	}
	return list, false
}

// Export are they with their keys.
func (d *Devices) Export(after string, n int) (list []any, more bool) {
	for name, dev := range d.table.Behind(after) {
		if len(list) == n {
			return list, true
		}
		list = append(list, Named{name, dev})
	}
	return list, false
}

// Show is one of them.
func (d *Devices) Show(name string) (any, error) {
	dev, ok := d.table.Get(name)
	if !ok {
		return nil, d.table.Missing(name)
	}
	return View{name, dev.Terms, dev.Created}, nil
}

// Put makes a device what body says; its key stays if that says none. If fresh,
// there may be none yet.
func (d *Devices) Put(ctx context.Context, name string, body []byte, fresh bool) (added bool, err error) {
	var in Input
	if err := managed.Decode(body, &in); err != nil {
		return false, err
	}
	outcome, err := d.table.Change(ctx, name, func(old *Device) (Device, error) {
		if old != nil && fresh {
			return Device{}, d.table.Exists(name)
		}
		return in.replace(old), nil
	})
	return outcome == managed.Added, err
}

// Patch changes what body says of a device.
func (d *Devices) Patch(ctx context.Context, name string, body []byte) error {
	var in Input
	if err := managed.Decode(body, &in); err != nil {
		return err
	}
	_, err := d.table.Change(ctx, name, func(old *Device) (Device, error) {
		if old == nil {
			return Device{}, d.table.Missing(name)
		}
		return in.apply(*old), nil
	})
	return err
}

// Drop removes a device.
func (d *Devices) Drop(ctx context.Context, name string) error { return d.table.Drop(ctx, name) }

// Import puts in several devices, each with its name; those that are there are
// replaced or refused.
func (d *Devices) Import(ctx context.Context, list []json.RawMessage, replace bool) (managed.Report, error) {
	edits := make([]managed.Edit[Device], 0, len(list))
	for _, text := range list {
		var in struct {
			Name string `json:"name"`
			Input
		}
		err := managed.Decode(text, &in)
		edits = append(edits, managed.Edit[Device]{Name: in.Name, Change: func(old *Device) (Device, error) {
			if err != nil {
				return Device{}, err
			}
			if old != nil && !replace {
				return Device{}, d.table.Exists(in.Name)
			}
			return in.replace(old), nil
		}})
	}
	return d.table.ChangeAll(ctx, edits)
}

// replace is the device as the input says, with the key of the old one if it
// says none.
func (in *Input) replace(old *Device) Device {
	next := Device{Created: time.Now().UTC().Truncate(time.Second)}
	if old != nil {
		next.Key, next.Created = old.Key, old.Created
	}
	return in.apply(next)
}

func (in *Input) apply(dev Device) Device {
	set(&dev.Key, in.Key)
	set(&dev.Instance, in.Instance)
	set(&dev.Topics, in.Topics)
	set(&dev.Rules, in.Rules)
	set(&dev.Groups, in.Groups)
	set(&dev.Attributes, in.Attributes)
	set(&dev.Limits, in.Limits)
	set(&dev.Disabled, in.Disabled)
	set(&dev.Created, in.Created)
	return dev
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// check says what is wrong with a device.
func (d *Devices) check(name string, dev *Device) error {
	k, _, err := split(name)
	switch {
	case err != nil:
		return managed.Wrongf("%s", err)
	case dev.Key == "":
		return managed.Wrongf("a device needs its key")
	case dev.Instance != "" && k != Baidu:
		return managed.Wrongf("instance: only devices of Baidu name one")
	case dev.Topics != "" && dev.Topics != OwnTopics && dev.Topics != ByRules:
		return managed.Wrongf("topics: %q is not %s or %s", dev.Topics, OwnTopics, ByRules)
	}
	if dev.Limits != "" && d.o.LimitSet != nil && !d.o.LimitSet(dev.Limits) {
		return managed.Wrongf("limits: there is no set %q among limits.sets", dev.Limits)
	}
	if dev.Topics == OwnTopics {
		dev.Topics = ""
	}
	if _, err := rules(name, dev); err != nil {
		return managed.Wrongf("%s", err)
	}
	return nil
}
