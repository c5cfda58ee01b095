package taxonomy

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// The most that one search finds.
const (
	maxFoundReasons  = 20
	maxFoundServices = 10
)

// index is what one audience can search, in display order. It never changes. A
// search goes through all of it: a taxonomy has some hundred selections, which
// takes less time than the call around it.
type index struct {
	selections []indexedSelection
	services   []indexedService
}

// indexedSelection is a selection as deep as its audience must choose.
type indexedSelection struct {
	found *taxonomypb.FoundReason
	// deepest are the words of its last label, above those of the others.
	deepest, above []string
}

type indexedService struct {
	found *taxonomypb.OnlineService
	name  []string
}

// newIndex makes the index of the tree that an audience sees.
func newIndex(tree *taxonomypb.GetTaxonomyResponse, services []*taxonomypb.OnlineService) *index {
	x := &index{}
	for _, theme := range tree.GetThemes() {
		x.addTheme(theme, tree.GetDepth())
	}
	for _, service := range services {
		x.services = append(x.services, indexedService{service, words(service.GetName())})
	}
	return x
}

// addTheme adds the selections of a theme. Labels below the audience's depth are
// not searched: what was found would not show the words.
func (x *index) addTheme(whole *taxonomypb.Theme, depth taxonomypb.Depth) {
	theme := &taxonomypb.Theme{Code: whole.GetCode(), Label: whole.GetLabel(), Help: whole.GetHelp()}
	inTheme := words(theme.GetLabel())
	if depth == taxonomypb.Depth_THEME {
		x.selections = append(x.selections, indexedSelection{&taxonomypb.FoundReason{Theme: theme}, inTheme, nil})
		return
	}
	for _, branch := range whole.GetTopics() {
		topic := &taxonomypb.Topic{Code: branch.GetCode(), Label: branch.GetLabel(), Help: branch.GetHelp()}
		inTopic := words(topic.GetLabel())
		if depth == taxonomypb.Depth_TOPIC {
			x.selections = append(x.selections, indexedSelection{&taxonomypb.FoundReason{Theme: theme, Topic: topic}, inTopic, inTheme})
			continue
		}
		above := slices.Concat(inTopic, inTheme)
		for _, reason := range branch.GetReasons() {
			found := &taxonomypb.FoundReason{Theme: theme, Topic: topic, Reason: reason}
			x.selections = append(x.selections, indexedSelection{found, words(reason.GetLabel()), above})
		}
	}
}

// search finds what has every word of a query (queryWords) as the beginning of one of
// its own. A query without a word finds nothing. Selections that have more of the words in
// their deepest label come first, and display order decides between equals.
func (x *index) search(wanted []string) *taxonomypb.SearchReasonsResponse {
	resp := &taxonomypb.SearchReasonsResponse{}
	if len(wanted) == 0 {
		return resp
	}
	type hit struct {
		found   *taxonomypb.FoundReason
		outside int
	}
	var hits []hit
	for _, s := range x.selections {
		if outside, ok := s.match(wanted); ok {
			hits = append(hits, hit{s.found, outside})
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return cmp.Compare(a.outside, b.outside) })
	for _, h := range hits[:min(len(hits), maxFoundReasons)] {
		resp.Reasons = append(resp.Reasons, h.found)
	}
	for _, s := range x.services {
		missing := func(word string) bool { return !begins(s.name, word) }
		if !slices.ContainsFunc(wanted, missing) && len(resp.GetServices()) < maxFoundServices {
			resp.Services = append(resp.Services, s.found)
		}
	}
	return resp
}

// match reports whether a selection has all the words, and how many of them only outside its
// deepest label.
func (s *indexedSelection) match(wanted []string) (outside int, ok bool) {
	for _, word := range wanted {
		switch {
		case begins(s.deepest, word):
		case begins(s.above, word):
			outside++
		default:
			return 0, false
		}
	}
	return outside, true
}

// begins reports whether one of the words begins with this one.
func begins(list []string, word string) bool {
	return slices.ContainsFunc(list, func(whole string) bool { return strings.HasPrefix(whole, word) })
}

// words cuts a label into words, folded. Anything but a letter or a digit ends one, so that
// "d'accident" and "Trop-perçu" are two each.
func words(label string) []string {
	return strings.FieldsFunc(fold(label), func(r rune) bool { return r == ' ' || r == '\'' })
}

// queryWords cuts what was typed. An elided word (l', d', qu') in front of another is left
// out: "l'arrêt" is to find "Arrêt maladie", no word of which begins with l. At the end it
// stays, since the rest may not have been typed yet.
func queryWords(query string) []string {
	folded := fold(query)
	var list []string
	for folded != "" {
		word, rest := folded, ""
		end := strings.IndexAny(folded, " '")
		if end >= 0 {
			word, rest = folded[:end], folded[end+1:]
		}
		elided := end >= 0 && folded[end] == '\'' && (len(word) == 1 || strings.HasSuffix(word, "qu"))
		if word != "" && (!elided || strings.Trim(rest, " '") == "") {
			list = append(list, word)
		}
		folded = rest
	}
	return list
}

// fold puts a text into the form that is compared: decomposed (NFD), without
// accents and invisible characters, in lower case, œ and æ spelt out as on
// keyboards that lack them. What is not part of a word becomes a space, the
// apostrophes one of their kind.
func fold(text string) string {
	var folded strings.Builder
	for _, r := range norm.NFD.String(text) {
		switch r = unicode.ToLower(r); {
		case unicode.In(r, unicode.Mn, unicode.Cf):
		case r == 'œ':
			folded.WriteString("oe")
		case r == 'æ':
			folded.WriteString("ae")
		case strings.ContainsRune("'’‘ʼ′´`", r): // U+02BC counts as a letter
			folded.WriteByte('\'')
		case unicode.IsLetter(r), unicode.IsDigit(r):
			folded.WriteRune(r)
		default:
			folded.WriteByte(' ')
		}
	}
	return folded.String()
}
