package words

import (
	"maps"
	"slices"
	"sort"
	"strings"
)

const (
	// deletePrefix is how many letters of a word its misspellings are looked up by.
	deletePrefix = 7
	// fuzzyFrom is the length from which one letter may be wrong. Two may be in words of
	// fuzzyTwice letters, of which two may be missing.
	fuzzyFrom  = 4
	fuzzyTwice = 8
	// otherBegin is the length from which it may be the first letter that is wrong.
	otherBegin = 6
)

// New makes an index of a tree. Each list of synonyms has words, or several words each, that
// mean the same.
func New(nodes []Node, synonyms [][]string) *Index {
	x := &Index{stems: make(map[string]tok), sequences: make(map[tok][]sequence)}
	b := builder{Index: x, spellings: make(map[string]tok)}
	for _, w := range slices.Sorted(maps.Keys(classOf)) {
		x.classes[b.learn(w)] = classOf[w]
	}
	for _, group := range synonyms {
		b.addGroup(group)
	}
	children := make([][]uint32, len(nodes))
	for i, n := range nodes {
		b.addNode(n)
		if n.Parent >= 0 {
			children[n.Parent] = append(children[n.Parent], uint32(i))
		}
	}
	b.addNode(Node{}) // the end of the last one
	for i, list := range children {
		x.nodes[i].children = uint32(len(x.children)) //nolint:gosec // a taxonomy
		x.children = append(x.children, list...)
	}
	x.nodes[len(nodes)].children = uint32(len(x.children)) //nolint:gosec // a taxonomy
	b.weigh()
	b.spell()
	x.nodes, x.phrases, x.worths = slices.Clip(x.nodes), slices.Clip(x.phrases), slices.Clip(x.worths)
	x.toks, x.spans = slices.Clip(x.toks), slices.Clip(x.spans)
	x.scratches.New = func() any { return newScratch(x) }
	return x
}

// builder is what is only needed while an index is made.
type builder struct {
	*Index
	spellings map[string]tok
}

// learn returns the number of a word's stem, and notes its spelling.
func (b *builder) learn(folded string) tok {
	if known, ok := b.spellings[folded]; ok {
		return known
	}
	stem := stemOf(folded)
	if classOf[folded] != content {
		stem = "=" + folded // "mais" is not "mai"
	}
	number, ok := b.stems[stem]
	if !ok {
		number = b.number()
		b.stems[strings.Clone(stem)] = number
	}
	b.spellings[strings.Clone(folded)] = number
	return number
}

func (b *builder) number() tok {
	b.classes, b.postings, b.meanings = append(b.classes, content), append(b.postings, nil), append(b.meanings, nil)
	return tok(len(b.classes) - 1) //nolint:gosec // some thousand words
}

// addGroup notes what the members of a group of synonyms mean together.
func (b *builder) addGroup(group []string) {
	means := b.number()
	for _, member := range group {
		var toks []tok
		said := 0
		for _, w := range split(member) {
			t := b.learn(w.folded)
			toks = append(toks, t)
			if b.classes[t] == content {
				said++
			}
		}
		switch {
		case len(toks) == 1:
			if !slices.Contains(b.meanings[toks[0]], means) {
				b.meanings[toks[0]] = append(b.meanings[toks[0]], means)
			}
		case len(toks) > 1:
			b.addSequence(toks, said, means)
		}
	}
}

// addSequence notes a synonym of several words. Those that say nothing may be missing, if two
// are left.
func (b *builder) addSequence(toks []tok, said int, means tok) {
	s := sequence{means: means}
	for _, t := range toks {
		needed := said < 2 || b.classes[t] != stop
		if len(s.toks) == 0 && !needed {
			continue // it begins with a word that is there
		}
		s.toks, s.needed = append(s.toks, t), append(s.needed, needed)
	}
	b.sequences[s.toks[0]] = append(b.sequences[s.toks[0]], s)
}

func (b *builder) addNode(n Node) {
	number := uint32(len(b.nodes)) //nolint:gosec // a taxonomy
	b.nodes = append(b.nodes, node{
		parent: int32(n.Parent), leaf: n.Leaf, last: n.Last, //nolint:gosec // a taxonomy
		phrases: uint32(len(b.phrases)), //nolint:gosec // a taxonomy
	})
	for _, t := range n.Texts {
		b.addPhrase(number, t)
	}
}

func (b *builder) addPhrase(n uint32, t Text) {
	//nolint:gosec // a taxonomy has some hundred thousand words
	p := phrase{text: t.Text, toks: uint32(len(b.toks)), spans: noSpans}
	if t.Label {
		p.spans = uint32(len(b.spans)) //nolint:gosec // see above
	}
	number := uint32(len(b.phrases)) //nolint:gosec // some hundred thousand
	for _, w := range split(t.Text) {
		b.toks = append(b.toks, b.learn(w.folded))
		if t.Label {
			b.spans = append(b.spans, w.span)
		}
	}
	toks := b.toks[p.toks:]
	for i, t := range toks {
		if b.classes[t] != stop {
			b.post(t, number)
			for _, means := range b.meanings[t] {
				b.post(means, number)
			}
		}
		for _, s := range b.sequences[t] {
			if s.match(toks[i:], func(j int, t tok) bool { return toks[i+j] == t }) > 0 {
				b.post(s.means, number)
			}
		}
	}
	b.toks = append(b.toks, end)
	b.phrases = append(b.phrases, p)
	b.worths = append(b.worths, worth{n, uint8(100*t.Weight + 0.5), t.Seen})
}

// post notes where a tok is, once for each phrase.
func (b *builder) post(t tok, phrase uint32) {
	if list := b.postings[t]; len(list) == 0 || list[len(list)-1] != phrase {
		b.postings[t] = append(list, phrase)
	}
}

// maxGap is how many words may stand between two of a synonym.
const maxGap = 2

// match reports how many of the words that begin with its first one the synonym takes; 0: it is
// not there.
func (s *sequence) match(rest []tok, is func(i int, t tok) bool) int {
	at := 0
	for i, t := range s.toks {
		found := -1
		for j := at; j < min(len(rest), at+maxGap+1); j++ {
			if is(j, t) {
				found = j
				break
			}
			if i == 0 {
				break
			}
		}
		switch {
		case found >= 0:
			at = found + 1
		case s.needed[i]:
			return 0
		}
	}
	return at
}

// weigh counts of how many entries of each view each tok is.
func (b *builder) weigh() {
	var seen Views
	for _, w := range b.worths {
		seen |= w.seen
	}
	for v := range maxViews {
		if seen&View(v) != 0 {
			b.idf[v] = b.weights(View(v))
		}
	}
	for t, list := range b.postings {
		b.postings[t] = slices.Clip(list)
	}
}

func (b *builder) weights(view Views) []float32 {
	idf := make([]float32, len(b.postings))
	entries := b.count(view, func(yield func(uint32)) {
		for i := range b.phrases {
			yield(uint32(i))
		}
	})
	for t, list := range b.postings {
		df := b.count(view, func(yield func(uint32)) {
			for _, p := range list {
				yield(p)
			}
		})
		if df > 0 {
			idf[t] = rarity(entries, df)
		}
		if b.classes[t] == weak {
			idf[t] = min(idf[t], weakMost)
		}
	}
	return idf
}

// count counts the nodes whose phrases these are, which are in order.
func (b *builder) count(view Views, phrases func(yield func(uint32))) int {
	n, last := 0, -1
	phrases(func(number uint32) {
		if w := b.worths[number]; w.seen&view != 0 && int(w.node) != last {
			n, last = n+1, int(w.node)
		}
	})
	return n
}

// spell sorts all spellings and what leads to them.
func (b *builder) spell() {
	for w := range b.spellings {
		b.words = append(b.words, w)
	}
	sort.Strings(b.words)
	b.wordTok = make([]tok, len(b.words))
	for i, w := range b.words {
		b.wordTok[i] = b.spellings[w]
		if b.classes[b.wordTok[i]] == stop {
			continue
		}
		if sound := soundOf(w); sound != "" {
			b.sounds = append(b.sounds, key(hash(sound), i))
		}
		if len(w) >= fuzzyFrom-1 && isASCII(w) {
			for _, shorter := range deletesOf(w) {
				b.deletes = append(b.deletes, key(hash(shorter), i))
			}
		}
	}
	slices.Sort(b.sounds)
	slices.Sort(b.deletes)
	b.deletes = slices.Clip(b.deletes)
}

func key(hash uint32, number int) uint64 {
	return uint64(hash)<<32 | uint64(uint32(number)) //nolint:gosec // some thousand words
}

// hash is FNV-1a.
func hash(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

// deletesOf are the beginning of a word, and that without one or two of its letters: two words
// that differ by as many letters have one of these in common.
func deletesOf(w string) []string {
	begin := w[:min(len(w), deletePrefix)]
	all := []string{begin}
	all = appendShorter(all, begin)
	if len(w) >= fuzzyTwice-2 {
		for _, one := range all[1:] {
			all = appendShorter(all, one)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func appendShorter(all []string, w string) []string {
	for i := range w {
		all = append(all, w[:i]+w[i+1:])
	}
	return all
}
