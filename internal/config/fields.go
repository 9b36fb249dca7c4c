package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// keysOf lists the YAML keys of a struct, or of what a pointer to one points
// to, in the order of its fields.
func keysOf(v any) []string {
	var keys []string
	eachField(reflect.Indirect(reflect.ValueOf(v)), func(key string, _ reflect.Value) {
		keys = append(keys, key)
	})
	return keys
}

// fieldsOf maps the YAML keys of the struct that v points to to pointers to
// its fields.
func fieldsOf(v any) map[string]any {
	fields := map[string]any{}
	eachField(reflect.ValueOf(v).Elem(), func(key string, field reflect.Value) {
		fields[key] = field.Addr().Interface()
	})
	return fields
}

func eachField(v reflect.Value, visit func(key string, field reflect.Value)) {
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag.Get("yaml")
		switch {
		case tag == ",inline":
			eachField(v.Field(i), visit)
		case tag != "" && tag != "-":
			key, _, _ := strings.Cut(tag, ",")
			visit(key, v.Field(i))
		}
	}
}

// written lists the keys of the pointers that are set in a struct of pointers.
func written(v any) []string {
	var keys []string
	eachField(reflect.ValueOf(v).Elem(), func(key string, field reflect.Value) {
		if !field.IsNil() {
			keys = append(keys, key)
		}
	})
	return keys
}

func sortedKeys(m map[string][]string) []string {
	return slices.Sorted(maps.Keys(m))
}
