package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ma-messagerie/messagerie/dev/stack"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/gateway"
	"github.com/ma-messagerie/messagerie/services/messaging"
	"github.com/ma-messagerie/messagerie/services/notifier"
	"github.com/ma-messagerie/messagerie/services/taxonomy"
	"github.com/ma-messagerie/messagerie/web"
)

// Tables in the documents that nothing generates are compared with the code. Those of
// docs/errors.md are generated (make generated), that of metrics is compared in
// deploy/test/dashboards/exported.

// document returns a file of the repository.
func document(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root(t), path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// docs/events.md has a row for each event, with its subject, and each field with its number.
func TestEventsAreDocumented(t *testing.T) {
	t.Parallel()
	page := document(t, "docs/events.md")
	events := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| [^|]+ \\| `([^`|]+)` \\| `(\\w+)` \\|").FindAllStringSubmatch(page, -1) {
		events[row[2]] = row[1]
	}
	fields := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| ((?:`\\w+`(?:, )?)+) \\| (\\d[^|]*|no others) \\|").FindAllStringSubmatch(page, -1) {
		for name := range strings.SplitSeq(row[1], ", ") {
			fields[strings.Trim(name, "`")] = row[2]
		}
	}
	numbered := regexp.MustCompile("(\\d+) `(\\w+)`")
	messages := eventspb.File_messagerie_events_v1_events_proto.Messages()
	for i := range messages.Len() {
		message := messages.Get(i)
		name := string(message.Name())
		if subject := eventspb.AllCaisses(kebab(name)); name != "Origin" && events[name] != subject {
			t.Errorf("docs/events.md has %q as the subject of %s, want %s", events[name], name, subject)
		}
		var want []string
		for j := range message.Fields().Len() {
			if field := message.Fields().Get(j); field.Name() != "origin" {
				want = append(want, fmt.Sprintf("%d %s", field.Number(), field.Name()))
			}
		}
		var got []string
		for _, found := range numbered.FindAllStringSubmatch(fields[name], -1) {
			got = append(got, found[1]+" "+found[2])
		}
		if fields[name] == "" || !slices.Equal(got, want) {
			t.Errorf("docs/events.md has the fields %v of %s, want %v", got, name, want)
		}
		delete(events, name)
	}
	for name := range events {
		t.Errorf("docs/events.md has %s, which events.proto lacks", name)
	}
	if messages.ByName(protoreflect.Name("MessageSubmitted")) == nil {
		t.Error("the events were not found")
	}
}

// kebab is the type of an event by the name of its message.
func kebab(name string) string {
	return strings.ToLower(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(name, "$1-$2"))
}

// docs/operations.md lists every setting of every process with its default, and no other.
func TestOperationsListsEverySetting(t *testing.T) {
	t.Parallel()
	rows := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z][A-Z0-9_]+)` \\| ([^|]*)\\|").FindAllStringSubmatch(document(t, "docs/operations.md"), -1) {
		rows[row[1]] = strings.TrimSpace(row[2])
	}
	// LOG_LEVEL and GC_PERCENT are read before any service's own; the others are the command's.
	listed := []string{"LOG_LEVEL", "GC_PERCENT", "MESSAGERIE_GATEWAY", "MESSAGERIE_TLS"}
	for prefix, config := range map[string]any{
		"GATEWAY_": gateway.Config{}, "MESSAGING_": messaging.Config{}, "TAXONOMY_": taxonomy.Config{}, "NOTIFIER_": notifier.Config{}, "WEB_": web.Config{}, "DEV_": stack.Config{},
	} {
		for name, value := range settings(reflect.TypeOf(config), "") {
			// Settings of all processes are listed once, without a prefix.
			row := name
			if _, own := rows[prefix+name]; own {
				row = prefix + name
			}
			listed = append(listed, row)
			if got, ok := rows[row]; !ok || got != value {
				t.Errorf("docs/operations.md has %s%s with the default %q, want %q", prefix, name, got, value)
			}
		}
	}
	for name := range rows {
		if !slices.Contains(listed, name) {
			t.Errorf("docs/operations.md has %s, which no process reads", name)
		}
	}
}

// settings are the names in the env tags of a configuration, with their defaults as the table
// has them.
func settings(config reflect.Type, prefix string) map[string]string {
	found := make(map[string]string)
	for i := range config.NumField() {
		field := config.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("env"), ",")
		switch {
		case name != "" && strings.Contains(options, "required"):
			found[prefix+name] = "**required**"
		case name != "" && field.Tag.Get("envDefault") == "":
			found[prefix+name] = ""
		case name != "":
			found[prefix+name] = "`" + field.Tag.Get("envDefault") + "`"
		case field.Type.Kind() == reflect.Struct:
			for inner, value := range settings(field.Type, prefix+field.Tag.Get("envPrefix")) {
				found[inner] = value
			}
		}
	}
	return found
}

// docs/design.md names every table of every database, in its service's row.
func TestTablesAreDocumented(t *testing.T) {
	t.Parallel()
	page := document(t, "docs/design.md")
	created := regexp.MustCompile(`(?m)^CREATE TABLE (\w+) \(`)
	for _, service := range []string{"taxonomy", "messaging", "notifier"} {
		rows := regexp.MustCompile(`(?m)^\| `+service+` \| .*$`).FindAllString(page, -1)
		row := rows[len(rows)-1] // the table of data is the last
		files, err := filepath.Glob(filepath.Join(root(t), "services", service, "migrations", "*.sql"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has %d migrations: %v", service, len(files), err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range created.FindAllStringSubmatch(string(content), -1) {
				if !strings.Contains(row, "`"+found[1]+"`") {
					t.Errorf("docs/design.md does not have table %s of %s", found[1], service)
				}
			}
		}
	}
}
