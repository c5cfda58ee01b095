package taxonomy

import (
	"slices"
	"strings"
	"unicode"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/taxonomy/internal/words"
	"github.com/ma-messagerie/messagerie/services/taxonomy/taxonomyfile"
)

// The most that one search finds.
const (
	maxFoundReasons  = 12
	maxFoundServices = 10
)

const (
	// enough is the share of a question from which on an answer is more than near.
	enough = 0.22
	// beside is how much of the best score another answer needs beside it.
	beside = 0.3
	// nearest is how many answers are given that are only near.
	nearest = 3
	// serviceEnough is the share of a question that the name of a service needs.
	serviceEnough = 0.45
)

// How much a word says about an entry, by where it is.
const (
	inLabel   = 1
	inKeyword = 0.85
	inHelp    = 0.6
	// below is for the texts of levels that the audience does not choose.
	below = 0.8
)

// finder is what can be searched. It never changes.
type finder struct {
	// views are the numbers of the audiences in the indexes.
	views map[taxonomypb.Audience]int
	tree  *words.Index
	// nodes are the entries of the tree by their place there, as they were given to it, paths
	// what each is as an answer, and levels how deep it is.
	nodes  []words.Node
	paths  []*taxonomypb.FoundReason
	levels []taxonomypb.Depth
	// others are the choices for what is in none of the others, by the place of what they are in.
	others map[int]int
	themes []int

	services *words.Index
	offered  []*taxonomypb.OnlineService
}

// newFinder makes the index of a file.
func newFinder(f *taxonomyfile.File, services map[string]*taxonomypb.OnlineService) *finder {
	x := &finder{views: make(map[taxonomypb.Audience]int), others: make(map[int]int)}
	b := finderBuilder{finder: x, depths: make(map[string]taxonomypb.Depth), everybody: make([]taxonomyfile.Mark, 0, len(f.Audiences))}
	for i, a := range f.Audiences {
		x.views[taxonomyfile.AudienceOf[a.Code.Word]] = i
		b.depths[a.Code.Word], b.everybody = taxonomyfile.DepthOf[a.Depth.Word], append(b.everybody, a.Code)
	}
	for i := range f.Themes {
		b.addTheme(&f.Themes[i])
	}
	synonyms := make([][]string, len(f.Synonyms))
	for i, list := range f.Synonyms {
		for _, m := range list {
			synonyms[i] = append(synonyms[i], m.Word)
		}
	}
	x.tree = words.New(x.nodes, synonyms)
	for i := range x.nodes {
		x.nodes[i].Texts = nil // the index has them
	}
	list := make([]words.Node, 0, len(f.Services))
	for i := range f.Services {
		s := &f.Services[i]
		open := b.seen(s.Audiences)
		list = append(list, words.Node{Parent: -1, Leaf: open, Texts: appendTexts(nil, s.Name.Word, "", s.Keywords, 1, open)})
		x.offered = append(x.offered, services[s.Code.Word])
	}
	x.services = words.New(list, synonyms)
	return x
}

// finderBuilder is what is only needed while a finder is made.
type finderBuilder struct {
	*finder
	depths    map[string]taxonomypb.Depth
	everybody []taxonomyfile.Mark
}

// seen are the views of audiences.
func (b *finderBuilder) seen(audiences []taxonomyfile.Mark) (open words.Views) {
	for _, a := range audiences {
		if view, ok := b.views[taxonomyfile.AudienceOf[a.Word]]; ok {
			open |= words.View(view)
		}
	}
	return open
}

// deeper are the views of audiences that choose at least as deep, and exactly those whose last
// level it is.
func (b *finderBuilder) deeper(level taxonomypb.Depth) (deep, last words.Views) {
	for _, a := range b.everybody {
		if depth := b.depths[a.Word]; depth > level {
			deep |= b.seen([]taxonomyfile.Mark{a})
		} else if depth == level {
			last |= b.seen([]taxonomyfile.Mark{a})
		}
	}
	return deep | last, last
}

func appendTexts(list []words.Text, label, help string, keywords []taxonomyfile.Mark, share float32, seen words.Views) []words.Text {
	list = append(list, words.Text{Text: label, Weight: inLabel * share, Label: true, Seen: seen})
	if help != "" {
		list = append(list, words.Text{Text: help, Weight: inHelp * share, Label: true, Seen: seen})
	}
	for _, m := range keywords {
		list = append(list, words.Text{Text: m.Word, Weight: inKeyword * share, Seen: seen})
	}
	return list
}

// add adds an entry and returns its place and who sees it. Whoever chooses less deep finds its
// texts at their own last level.
func (b *finderBuilder) add(n *taxonomyfile.Node, parent int, above words.Views, path *taxonomypb.FoundReason, level taxonomypb.Depth) (place int, open words.Views) {
	open = above
	if n.Audiences != nil {
		open &= b.seen(n.Audiences)
	}
	deep, last := b.deeper(level)
	place = len(b.nodes)
	isOther := n.Code.Word == taxonomyfile.Other
	b.nodes = append(b.nodes, words.Node{
		Parent: parent, Leaf: open & last, Last: isOther,
		Texts: appendTexts(nil, n.Label.Word, n.Help.Word, n.Keywords, 1, open&deep),
	})
	b.paths, b.levels = append(b.paths, path), append(b.levels, level)
	if isOther && parent >= 0 {
		b.others[parent] = place
	}
	for up := parent; up >= 0; up = b.nodes[up].Parent {
		if shallow := open &^ deep & b.nodes[up].Leaf; shallow != 0 {
			b.nodes[up].Texts = appendTexts(b.nodes[up].Texts, n.Label.Word, n.Help.Word, n.Keywords, below, shallow)
		}
	}
	return place, open
}

func (b *finderBuilder) addTheme(entry *taxonomyfile.Theme) {
	theme := &taxonomypb.Theme{Code: entry.Code.Word, Label: entry.Label.Word, Help: entry.Help.Word}
	inTheme, open := b.add(&entry.Node, -1, b.seen(b.everybody), &taxonomypb.FoundReason{Theme: theme}, taxonomypb.Depth_THEME)
	b.themes = append(b.themes, inTheme)
	for i := range entry.Topics {
		entry := &entry.Topics[i]
		topic := &taxonomypb.Topic{Code: entry.Code.Word, Label: entry.Label.Word, Help: entry.Help.Word}
		inTopic, open := b.add(&entry.Node, inTheme, open, &taxonomypb.FoundReason{Theme: theme, Topic: topic}, taxonomypb.Depth_TOPIC)
		for j := range entry.Reasons {
			entry := &entry.Reasons[j]
			reason := &taxonomypb.Reason{Code: entry.Code.Word, Label: entry.Label.Word}
			b.add(&entry.Node, inTopic, open, &taxonomypb.FoundReason{Theme: theme, Topic: topic, Reason: reason}, taxonomypb.Depth_REASON)
		}
	}
}

// search finds what a question asks for. With a letter in it something is found: what it is
// nearest to, else the choices for what is nowhere else.
func (x *finder) search(audience taxonomypb.Audience, question string) *taxonomypb.SearchReasonsResponse {
	resp := &taxonomypb.SearchReasonsResponse{}
	view, ok := x.views[audience]
	if !ok || !strings.ContainsFunc(question, isSaid) {
		return resp
	}
	hits := x.tree.Search(question, view, maxFoundReasons)
	a := answers{finder: x, resp: resp, view: words.View(view)}
	near := len(hits) == 0 || hits[0].Strength < enough
	for i, h := range hits {
		if (near && i < nearest) || (!near && h.Score >= beside*hits[0].Score && i < maxFoundReasons-1) {
			a.add(h.Node, near, h.Why)
		}
	}
	// The way out of where the first is, or the first few that are near.
	for i, h := range hits[:min(len(hits), nearest)] {
		if near || i == 0 {
			a.addOther(x.nodes[h.Node].Parent)
		}
	}
	if near {
		for _, theme := range x.themes {
			if len(a.taken) < maxFoundReasons {
				a.addExit(theme)
			}
		}
	}
	for _, h := range x.services.Search(question, view, maxFoundServices) {
		if h.Strength >= serviceEnough {
			resp.Services = append(resp.Services, x.offered[h.Node])
		}
	}
	return resp
}

// answers collects what is found for one audience.
type answers struct {
	*finder
	resp  *taxonomypb.SearchReasonsResponse
	view  words.Views
	taken []int
}

// add adds an entry with why it was found, if the audience can choose it, and reports whether
// that is among the answers.
func (a *answers) add(place int, near bool, why []words.Why) bool {
	if a.nodes[place].Leaf&a.view == 0 {
		return false
	}
	if len(a.taken) == maxFoundReasons || slices.Contains(a.taken, place) {
		return true
	}
	a.taken = append(a.taken, place)
	path := a.paths[place]
	found := &taxonomypb.FoundReason{Theme: path.GetTheme(), Topic: path.GetTopic(), Reason: path.GetReason(), Near: near}
	for _, w := range why {
		found.Matches = append(found.Matches, &taxonomypb.Match{Typed: w.Typed, Found: w.Found, Level: a.levels[w.Node]})
	}
	a.resp.Reasons = append(a.resp.Reasons, found)
	return true
}

// addOther adds the choice for what is in none of an entry's others.
func (a *answers) addOther(place int) bool {
	at, ok := a.others[place]
	return ok && (a.add(at, true, nil) || a.addOther(at))
}

// addExit adds the choice of a theme for what is nowhere in it. Older versions may have none:
// then it is the first one.
func (a *answers) addExit(theme int) {
	if a.addOther(theme) {
		return
	}
	for place := theme; place < len(a.nodes) && (place == theme || a.nodes[place].Parent >= 0); place++ {
		if a.addOther(place) || a.add(place, true, nil) {
			return
		}
	}
}

// isSaid reports whether a character can be part of a word.
func isSaid(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
