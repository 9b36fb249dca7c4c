package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/internal/api"
	"github.com/fantail-mqtt/fantail/internal/auth/device"
)

func ctlDeviceCommand(e *env, c *ctlFlags) *cobra.Command {
	t := &things{
		e: e, c: c, noun: "device", name: "DEVICE", path: api.DevicesPath, export: api.ExportDevicesPath,
		head: "name\tgroups\ttopics\trights\tcreated", row: deviceRow, rows: deviceRows,
	}
	return t.command("Manage devices that connect as to Alibaba Cloud, Baidu or Adafruit IO: add one, import many",
		deviceAddCommand(t), importCommand(t, deviceForms()), exportCommand(t, deviceColumns()))
}

func deviceAddCommand(t *things) *cobra.Command {
	var s secretFlags
	var groups, attributes []string
	var replace bool
	var in struct {
		Name     string            `json:"name"`
		Key      string            `json:"key"`
		Instance string            `json:"instance,omitempty"`
		Topics   string            `json:"topics,omitempty"`
		Groups   []string          `json:"groups,omitempty"`
		Attrs    map[string]string `json:"attributes,omitempty"`
		Limits   string            `json:"limits,omitempty"`
	}
	cmd := &cobra.Command{
		Use:   "add DEVICE [--key-stdin | --generate] [--topics own|rules] [--replace]",
		Short: "Add a device",
		Long: "Adds a device. DEVICE is alibaba/productKey/deviceName, baidu/deviceKey or adafruit/userName. Without --key-stdin and\n" +
			"--generate its key is asked for: Alibaba's DeviceSecret, Baidu's DeviceSecret, or Adafruit's key.",
		Example: "  fantail ctl device add alibaba/a1B2c3D4e5F/sensor_001\n" +
			"  fantail ctl device add adafruit/ann --generate",
		Args: t.one,
		RunE: func(_ *cobra.Command, args []string) (err error) {
			in.Name, in.Groups = args[0], groups
			if in.Attrs, err = pairs(attributes); err != nil {
				return err
			}
			if in.Key, err = s.get(t.e, "key"); err != nil {
				return err
			}
			if err := t.add(in.Name, in, replace); err != nil {
				return err
			}
			return s.show(t.e, "key", in.Key)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	s.register(cmd, "key")
	f.StringVar(&in.Instance, "instance", "", "a device of Baidu has to name the IoTCoreId `ID`")
	f.StringVar(&in.Topics, "topics", "", "it may use `own`: the topics that are its own in its cloud, which is the default; or rules: what the access rules say")
	f.StringArrayVar(&groups, "group", nil, "it belongs to `GROUP`, which access rules name; may be repeated")
	f.StringArrayVar(&attributes, "attr", nil, "it has the attribute `KEY=VALUE`; may be repeated")
	f.StringVar(&in.Limits, "limits", "", "the set of limits `NAME` holds for it")
	f.BoolVar(&replace, "replace", false, "if it is there, make it what is given here")
	return cmd
}

func deviceRow(w io.Writer, text json.RawMessage) error {
	var v device.View
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", printable(v.Name), dash(strings.Join(v.Groups, ",")), deviceTopics(&v), dash(deviceRights(&v)), day(v.Created))
	return err
}

func deviceTopics(v *device.View) string {
	topics := device.OwnTopics
	if v.Topics != "" {
		topics = v.Topics
	}
	if n := len(v.Rules); n > 0 {
		topics += fmt.Sprintf(" and %d rules", n)
	}
	return topics
}

func deviceRights(v *device.View) string {
	if v.Disabled {
		return "disabled"
	}
	return ""
}

func deviceRows(w io.Writer, text json.RawMessage) error {
	var v device.View
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	t := columns(w)
	fmt.Fprintf(t, "name\t%s\ninstance\t%s\ntopics\t%s\ngroups\t%s\nattributes\t%s\nrights\t%s\nlimits\t%s\ncreated\t%s\n",
		printable(v.Name), dash(v.Instance), deviceTopics(&v), dash(strings.Join(v.Groups, ", ")), dash(attributes(v.Attributes)),
		dash(deviceRights(&v)), dash(v.Limits), day(v.Created))
	return t.Flush()
}
