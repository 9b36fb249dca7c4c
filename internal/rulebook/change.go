package rulebook

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/managed"
)

// View is a rule as it is shown.
type View struct {
	Name string `json:"name"`
	access.Statement
	// Text is the rule in words.
	Text string `json:"text"`
	// Problem is why the rule cannot be read; empty: it can.
	Problem string `json:"problem,omitempty"`
}

func view(name string, text []byte) View {
	r, err := parse(name, text)
	v := View{Name: name, Text: r.String()}
	if err != nil {
		v.Problem = err.Error()
		return v
	}
	var kept rule
	_ = json.Unmarshal(text, &kept) // parse has done so
	v.Statement = kept.Statement
	return v
}

// List are up to n rules with names behind another, in their order.
func (b *Book) List(after string, n int) (list []any, more bool) {
	for name, text := range b.kept(after) {
		if len(list) == n {
			return list, true
		}
		list = append(list, view(name, text))
	}
	return list, false
}

// Export is the same: nothing of a rule is secret.
func (b *Book) Export(after string, n int) (list []any, more bool) { return b.List(after, n) }

// Show is one of them.
func (b *Book) Show(name string) (any, error) {
	text, ok := b.o.Settings.Setting(Space, name)
	if !ok {
		return nil, b.table.Missing(name)
	}
	return view(name, text), nil
}

// Put makes a rule what body says. If fresh, there may be none of that name yet.
func (b *Book) Put(ctx context.Context, name string, body []byte, fresh bool) (added bool, err error) {
	var in rule
	if err := in.UnmarshalJSON(body); err != nil {
		return false, err
	}
	outcome, err := b.change(ctx, name, func(old *rule) (rule, error) {
		if old != nil && fresh {
			return rule{}, b.table.Exists(name)
		}
		return in, nil
	})
	return outcome == managed.Added, err
}

// Patch changes those fields of a rule that body has (RFC 7396): null takes one
// away.
func (b *Book) Patch(ctx context.Context, name string, body []byte) error {
	_, err := b.change(ctx, name, func(old *rule) (rule, error) {
		if old == nil {
			return rule{}, b.table.Missing(name)
		}
		return old.patched(body)
	})
	return err
}

func (r *rule) patched(body []byte) (out rule, err error) {
	fields := map[string]json.RawMessage{}
	text, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(text, &fields)
	}
	if err != nil {
		return rule{}, err
	}
	var changes map[string]json.RawMessage
	if err := managed.Decode(body, &changes); err != nil {
		return rule{}, err
	}
	for key, value := range changes {
		fields[key] = value
		if string(value) == "null" {
			delete(fields, key)
		}
	}
	if text, err = json.Marshal(fields); err != nil {
		return rule{}, err
	}
	return out, out.UnmarshalJSON(text)
}

// Drop removes a rule.
func (b *Book) Drop(ctx context.Context, name string) error {
	err := b.table.Drop(ctx, name)
	if !wrong(err) {
		b.apply()
	}
	if err == nil {
		b.o.Logger.Info("run-time rule removed", slog.String("rule", name))
	}
	return err
}

// Import puts in several rules, each with its name, all at once; those that are
// there are replaced or refused.
func (b *Book) Import(ctx context.Context, list []json.RawMessage, replace bool) (managed.Report, error) {
	edits := make([]managed.Edit[rule], 0, len(list))
	for _, text := range list {
		var in struct {
			Name string `json:"name"`
			access.Statement
		}
		err := managed.Decode(text, &in)
		edits = append(edits, managed.Edit[rule]{Name: in.Name, Change: func(old *rule) (rule, error) {
			if err == nil && old != nil && !replace {
				err = b.table.Exists(in.Name)
			}
			return rule{in.Statement}, err
		}})
	}
	report, err := b.table.ChangeAll(ctx, edits)
	if report.Added+report.Changed == 0 {
		return report, err
	}
	b.apply()
	if err == nil && len(edits) == 1 {
		b.log(edits[0].Name)
	} else if err == nil {
		b.o.Logger.Info("run-time rules changed", slog.Int("added", report.Added), slog.Int("changed", report.Changed))
	}
	return report, err
}

// change changes one rule, and applies them all: also if nobody could wait until
// the change was safe, since it is kept then.
func (b *Book) change(ctx context.Context, name string, change func(old *rule) (rule, error)) (managed.Outcome, error) {
	outcome, err := b.table.Change(ctx, name, change)
	if wrong(err) || err == nil && outcome == managed.Unchanged {
		return outcome, err
	}
	b.apply()
	if err == nil {
		b.log(name)
	}
	return outcome, err
}

func (b *Book) log(name string) {
	text, _ := b.o.Settings.Setting(Space, name)
	b.o.Logger.Info("run-time rule changed", slog.String("rule", name), slog.String("text", view(name, text).Text))
}

// wrong says whether a change was not even tried.
func wrong(err error) bool {
	_, is := errors.AsType[*managed.Error](err)
	return is
}
