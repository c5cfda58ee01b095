package manifest

import (
	"reflect"
	"strings"
)

// Setting is one environment variable that a service reads.
type Setting struct {
	Required bool
	Default  string
	// Duration tells settings that are times.
	Duration bool
}

// Settings are the variables of a Config struct by their full names, as the library
// that reads them sees the struct: an embedded struct adds its fields as they are, a
// struct field those with its envPrefix.
func Settings(prefix string, config any) map[string]Setting {
	found := make(map[string]Setting)
	collect(found, prefix, reflect.TypeOf(config))
	return found
}

func collect(found map[string]Setting, prefix string, t reflect.Type) {
	for field := range fieldsOf(t) {
		name, options, _ := strings.Cut(field.Tag.Get("env"), ",")
		switch {
		case name != "":
			found[prefix+name] = Setting{
				Required: strings.Contains(options, "required") || strings.Contains(options, "notEmpty"),
				Default:  field.Tag.Get("envDefault"),
				Duration: field.Type.String() == "time.Duration",
			}
		case field.Type.Kind() == reflect.Struct:
			collect(found, prefix+field.Tag.Get("envPrefix"), field.Type)
		}
	}
}

func fieldsOf(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

// settingOf finds what a variable sets: the setting of its name, or that whose
// value it names a file of.
func settingOf(settings map[string]Setting, variable string) (name string, known bool) {
	if _, ok := settings[variable]; ok {
		return variable, true
	}
	base, isFile := strings.CutSuffix(variable, "_FILE")
	_, ok := settings[base]
	return base, isFile && ok
}

// common are variables without a service's prefix that every process understands:
// those of OpenTelemetry and of the Go runtime, and what Kubernetes sets for them.
func common(variable string) bool {
	switch variable {
	case "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG", "SSL_CERT_FILE", "SSL_CERT_DIR", "TZ",
		"POD_NAME", "POD_NAMESPACE", "POD_IP", "NODE_NAME":
		return true
	}
	return strings.HasPrefix(variable, "OTEL_")
}
