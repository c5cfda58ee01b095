package desk

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Kept is what an agent has sent and what could not be taken, to be sent again as it was.
type Kept struct {
	// Action is where it was sent to, Text what was typed, Fields what else was sent.
	Action, Text string
	Fields       []Field
}

// Field is one value of a form.
type Field struct{ Name, Value string }

// KeptOf is what is worth keeping of a request: a text that an agent has typed. The form must
// have been read. Without a text it reports false.
func KeptOf(r *http.Request) (kept Kept, ok bool) {
	text := r.PostForm.Get("texte")
	if !strings.HasPrefix(r.URL.Path, Queue+"/") || text == "" {
		return Kept{}, false
	}
	return Kept{Action: r.URL.EscapedPath(), Text: text, Fields: others(r.PostForm)}, true
}

// others are the fields beside the text, but for the trace of the click.
func others(form url.Values) []Field {
	var list []Field
	for _, name := range slices.Sorted(maps.Keys(form)) {
		if name != "texte" && name != "traceparent" {
			list = append(list, Field{name, form.Get(name)})
		}
	}
	return list
}
