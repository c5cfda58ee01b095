package web

import (
	"flag"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

var update = flag.Bool("update", false, "rewrite testdata/promises.txt; then read each line of its diff: it is what a person is told in that state")

// promiseTable has the promises of each state: a line for each, those that only a script shows
// after [shownLater].
const promiseTable = "testdata/promises.txt"

// shownLater is before what a page has in an attribute or in a hidden element, for its script to
// show.
const shownLater = "[script] "

// everywhere is what each page has for its script to show to who is signed in.
var everywhere = []string{
	"Votre session se termine dans moins de deux minutes et ne peut plus être prolongée : vous devrez vous reconnecter.",
	"Votre session est terminée. Ce que vous avez écrit vous sera rendu après la connexion, quand vous l’enverrez.",
	"Votre session se termine dans moins de deux minutes.",
}

// always is what each page has for its script to show.
var always = []string{"Vous êtes hors connexion. Gardez cette page ouverte."}

// onAll is what each page says.
var onAll = []string{"L’utilisation de la messagerie est sécurisée, vos échanges sont protégés."}

// byScripts are the promises that no page says before its script shows them, with the browser's
// test that sees them come and be true.
var byScripts = map[string]string{
	"Votre session se termine dans moins de deux minutes.":                                                               "pages.test.mjs: the end of the session is announced, and can be put off",
	"Votre session se termine dans moins de deux minutes et ne peut plus être prolongée : vous devrez vous reconnecter.": "pages.test.mjs: the end of the session is announced, and can be put off",
	"Votre session est terminée. Ce que vous avez écrit vous sera rendu après la connexion, quand vous l’enverrez.":      "pages.test.mjs: the end of the session is announced, and can be put off",
	"Vous êtes hors connexion. Gardez cette page ouverte.":                                                               "journey.test.mjs: a draft survives a closed tab; offline it says so and saves later",
	"Il y a du nouveau dans cette conversation.":                                                                         "news.test.mjs: a member’s conversation",
	"Il y a du nouveau dans vos conversations.":                                                                          "news.test.mjs: a member’s conversations",
	"La conversation a changé.":                                                                                          "news.test.mjs: an agent’s conversation",
	"La file a changé.":                                                                                                  "news.test.mjs: the queue",
	"Ce texte ne peut pas être enregistré comme brouillon.":                                                              "typed.test.mjs: a draft is saved when its page is left, and said to be only when it is",
	"Brouillon enregistré.":                                                                                              "typed.test.mjs: a draft is saved when its page is left, and said to be only when it is",
	"Le brouillon n’est pas enregistré. Nous réessayons.":                                                                "news.test.mjs: a draft that is not saved is said not to be",
	"Ce brouillon a changé depuis que cette page est ouverte : ce que vous écrivez ici n’y est pas enregistré.":          "typed.test.mjs: of two tabs with one draft, neither overwrites the other unseen",
}

// TestPromises renders each state, in both languages, and compares what its page promises with
// the table: one promise too many is a false sentence, one missing too.
func TestPromises(t *testing.T) {
	t.Parallel()
	all, table := sentences(t), promiseTableOf(t)
	named := make(map[string]bool)
	fronts, byLang := make(map[string]*front), make(map[string][]look)
	for _, lang := range render.Languages {
		fronts[lang], byLang[lang] = newFront(t), looks(all, lang)
	}
	for _, s := range states() {
		if table[s.name] == nil && !*update {
			t.Errorf("%s: the state is not in %s", s.name, promiseTable)
			continue
		}
		for _, lang := range render.Languages {
			found := s.promises(t, fronts[lang], all, byLang[lang], lang)
			if *update && lang == render.Languages[0] {
				table[s.name] = found
			}
			want := table[s.name]
			if lang != render.Languages[0] {
				want = inEnglish(all, want)
			}
			for _, promise := range found {
				if !slices.Contains(want, promise) {
					t.Errorf("%s, %s: promised and not borne out by the data: %q", s.name, lang, promise)
				}
			}
			for _, promise := range want {
				if !slices.Contains(found, promise) {
					t.Errorf("%s, %s: true and not said: %q", s.name, lang, promise)
				}
			}
		}
	}
	if *update {
		writePromiseTable(t, table)
	}
	for state, list := range table {
		if !slices.ContainsFunc(states(), func(s situation) bool { return s.name == state }) {
			t.Errorf("%s has a state that there is not: %s", promiseTable, state)
		}
		for _, promise := range list {
			named[promise] = true
		}
	}
	for _, promise := range onAll {
		named[promise] = true
	}
	for _, promise := range slices.Sorted(maps.Keys(all)) {
		_, excused := noPromises[promise]
		_, shown := byScripts[promise]
		switch {
		case !promises(promise) && !named[promise]:
		case excused && named[promise], excused && shown, shown && named[promise]:
			t.Errorf("%s: %q is in two lists", all[promise].file, promise)
		case !excused && !shown && !named[promise]:
			t.Errorf("%s: %q is a promise of no state: add the states in which it may stand", all[promise].file, promise)
		}
	}
	for list, of := range map[string]map[string]string{"byScripts": byScripts, "noPromises": noPromises} {
		for promise, why := range of {
			if _, ok := all[promise]; !ok || why == "" {
				t.Errorf("%s has %q, which is on no page or has no reason", list, promise)
			}
		}
	}
	for promise, where := range byScripts {
		file, test, _ := strings.Cut(where, ": ")
		content, err := os.ReadFile("e2e/" + file)
		if err != nil || !strings.Contains(string(content), "test('"+test+"'") && !strings.Contains(string(content), "'"+test+"': {") {
			t.Errorf("%q: there is no test %s", promise, where)
		}
	}
}

// promises is what a state's page promises, in the table's form.
func (s situation) promises(t *testing.T, f *front, all map[string]sentence, looks []look, lang string) []string {
	t.Helper()
	well := maps.Clone(f.scripts)
	f.drafts = make(map[string]*messagingpb.Draft)
	defer func() { f.scripts = well }()
	who := s.who
	if who.Realm == "" {
		who = jeanne
	}
	for method, answer := range s.on {
		f.on(method, answer)
	}
	for _, draft := range s.drafts {
		f.keep(draft)
	}
	b := f.browse(t, who)
	if s.anonymous {
		delete(b.cookies, session.Cookie)
	}
	b.cookies[render.LanguageCookie] = lang
	w := s.do(b)
	for range 3 { // where it leads
		if to := w.Header().Get("Location"); w.Code == 303 && strings.HasPrefix(to, "/") {
			w = b.get(to)
		}
	}
	if w.Code == 303 || w.Body.Len() == 0 {
		t.Fatalf("%s: %d to %q", s.name, w.Code, w.Header().Get("Location"))
	}
	said, later := read(t, w)
	found := among(looks, said)
	common, scripts := onAll, always
	if strings.Contains(w.Body.String(), `id="ending"`) {
		scripts = append(slices.Clone(always), everywhere...)
	}
	if !strings.Contains(w.Body.String(), "<main") { // a page without the site around it
		common, scripts = nil, nil
	}
	found = without(t, s.name, found, common, all, lang)
	for _, promise := range without(t, s.name, among(looks, later), scripts, all, lang) {
		found = append(found, shownLater+promise)
	}
	return found
}

// without takes away what is on each page, and reports what is not.
func without(t *testing.T, state string, found, common []string, all map[string]sentence, lang string) []string {
	t.Helper()
	for _, promise := range common {
		if lang != render.Languages[0] {
			promise = all[promise].english
		}
		at := slices.Index(found, promise)
		if at < 0 {
			t.Errorf("%s, %s: not on the page: %q", state, lang, promise)
			continue
		}
		found = slices.Delete(found, at, at+1)
	}
	return found
}

// read is what a page says, and what its script may show later. Each block is a line. What
// people type is left out.
func read(t *testing.T, w *httptest.ResponseRecorder) (said, later string) {
	t.Helper()
	var texts [2]strings.Builder
	var walk func(n *html.Node, hidden int)
	walk = func(n *html.Node, hidden int) {
		if n.Type == html.TextNode {
			texts[hidden].WriteString(lines.ReplaceAllString(n.Data, " "))
		}
		if n.Type == html.ElementNode {
			if n.Data == "textarea" || n.Data == "script" || slices.Contains(strings.Fields(attr(n, "class")), "said") {
				return
			}
			for _, a := range n.Attr {
				switch {
				case strings.HasPrefix(a.Key, "data-"):
					texts[1].WriteString("\n" + a.Val + "\n")
				case a.Key == "aria-label", a.Key == "placeholder", a.Key == "title":
					texts[hidden].WriteString("\n" + a.Val + "\n")
				case a.Key == "hidden":
					hidden = 1
				}
			}
		}
		inline := slices.Contains([]string{"a", "b", "bdi", "span", "strong", "time", "kbd", "code"}, n.Data) || n.Type == html.TextNode
		if !inline {
			texts[hidden].WriteByte('\n')
		}
		for child := n.FirstChild; child != nil; child = child.NextSibling {
			walk(child, hidden)
		}
		if !inline {
			texts[hidden].WriteByte('\n')
		}
	}
	walk(parsed(t, w), 0)
	return unmarked(texts[0].String()), unmarked(texts[1].String())
}

// lines are where the source of a page breaks.
var lines = regexp.MustCompile(`\s*\n\s*`)

// spaces are as many as the source has.
var spaces = regexp.MustCompile(` {2,}`)

// unmarked has ordinary spaces, and one of them.
func unmarked(text string) string {
	text = strings.NewReplacer("\u00a0", " ", "\u202f", " ").Replace(text)
	return spaces.ReplaceAllString(text, " ")
}

// verb is what fmt fills in.
var verb = regexp.MustCompile(`%[sdv]`)

// look is a promise of the table, in one language, and what finds it on a page.
type look struct {
	sentence string
	exp      *regexp.Regexp
}

// looks are those of a language, the longest first: what is part of another is not found again.
func looks(all map[string]sentence, lang string) (list []look) {
	words := make(map[string]bool)
	for french, s := range all {
		if _, excused := noPromises[french]; excused || !promises(french) {
			continue
		}
		if lang == render.Languages[0] {
			words[french] = true
		} else {
			words[s.english] = true
		}
	}
	sorted := slices.SortedFunc(maps.Keys(words), func(a, b string) int {
		return len(verb.ReplaceAllString(b, "")) - len(verb.ReplaceAllString(a, ""))
	})
	for _, sentence := range sorted {
		pattern := strings.TrimPrefix(strings.TrimSuffix(sentence, "%s"), "%s")
		pattern = verb.ReplaceAllString(regexp.QuoteMeta(strings.TrimSpace(pattern)), `[^\n]+?`)
		list = append(list, look{sentence, regexp.MustCompile(`(^|[^\p{L}])` + pattern + `($|[^\p{L}])`)})
	}
	return list
}

// among are the promises in a text.
func among(looks []look, text string) (found []string) {
	for _, l := range looks {
		// What is between verbs is searched for first: that is fast, and most are not there.
		if !strings.Contains(text, longest(l.sentence)) {
			continue
		}
		if l.exp.MatchString(text) {
			found = append(found, l.sentence)
			text = l.exp.ReplaceAllString(text, "\n")
		}
	}
	slices.Sort(found)
	return found
}

// longest is the longest part of a sentence that is always there.
func longest(sentence string) (part string) {
	for _, between := range verb.Split(sentence, -1) {
		if between = strings.TrimSpace(between); len(between) > len(part) {
			part = between
		}
	}
	return part
}

func inEnglish(all map[string]sentence, french []string) (list []string) {
	for _, promise := range french {
		later := ""
		if strings.HasPrefix(promise, shownLater) {
			later = shownLater
		}
		list = append(list, later+all[strings.TrimPrefix(promise, later)].english)
	}
	return list
}

func promiseTableOf(t *testing.T) map[string][]string {
	t.Helper()
	table := make(map[string][]string)
	content, err := os.ReadFile(promiseTable)
	if err != nil && !*update {
		t.Fatal(err)
	}
	state := ""
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "= "); ok {
			state = name
			table[state] = []string{}
		} else if promise, ok := strings.CutPrefix(line, "|"); ok {
			table[state] = append(table[state], promise)
		}
	}
	return table
}

func writePromiseTable(t *testing.T, table map[string][]string) {
	t.Helper()
	var out strings.Builder
	out.WriteString("What each page of web says will happen or has happened, state by state (promise_test.go).\nA state is in promise_state_test.go and promise_console_test.go. Each line is true there, whoever reads it.\n")
	for _, s := range states() {
		fmt.Fprintf(&out, "\n= %s\n", s.name)
		for _, promise := range table[s.name] {
			out.WriteString("|" + promise + "\n")
		}
	}
	for state := range table {
		if !slices.ContainsFunc(states(), func(s situation) bool { return s.name == state }) {
			delete(table, state)
		}
	}
	if err := os.WriteFile(promiseTable, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
