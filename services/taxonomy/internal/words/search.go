package words

import (
	"cmp"
	"slices"
)

const (
	// inTopic and inTheme are what a word counts one and two levels above the leaf.
	inTopic = 0.8
	inTheme = 0.5
	// whole is what a text counts besides that was met whole.
	whole = 0.7
	// mostPostings bounds how many texts are looked at, mostNodes how many entries take part,
	// and mostRanked how many of these are compared in full.
	mostPostings = 2000
	mostNodes    = 300
	mostRanked   = 24
	// mostTexts bounds how many texts of one entry are compared.
	mostTexts = 200
)

// met is how well one unit met an entry, by which tok, and where.
type met struct {
	value  float32
	tok    tok
	phrase uint32
}

// entry is what a question met in one node.
type entry struct {
	node uint32
	met  [MaxWords]met
}

// scratch is what one search writes on.
type scratch struct {
	view Views
	idf  []float32
	// slot of a node is where its entry is, if the entry is of this node.
	slot    []uint32
	entries []entry
	// quality is that of the toks of the question, and used are which.
	quality []float32
	used    []tok
	ranked  []Hit
}

func newScratch(x *Index) *scratch {
	return &scratch{slot: make([]uint32, len(x.nodes)), quality: make([]float32, len(x.classes))}
}

func (s *scratch) reset() {
	s.entries, s.ranked = s.entries[:0], s.ranked[:0]
	for _, t := range s.used {
		s.quality[t] = 0
	}
	s.used = s.used[:0]
}

// of is the entry of a node, nil if it was not met.
func (s *scratch) of(node int) *entry {
	if at := s.slot[node]; int(at) < len(s.entries) && int(s.entries[at].node) == node {
		return &s.entries[at]
	}
	return nil
}

// Search finds the leaves of a view that a question asks for, best first, at most so many.
func (x *Index) Search(query string, view, most int) []Hit {
	if view < 0 || view >= maxViews || x.idf[view] == nil || most <= 0 {
		return nil
	}
	units := x.parse(query, x.idf[view])
	if len(units) == 0 {
		return nil
	}
	s, _ := x.scratches.Get().(*scratch)
	defer x.scratches.Put(s)
	defer s.reset()
	s.view, s.idf = View(view), x.idf[view]
	x.meet(s, units)
	x.rank(s, units)
	hits := slices.Clone(s.ranked[:min(most, len(s.ranked))])
	for i := range hits {
		hits[i].Why = x.why(s, query, units, hits[i].Node)
	}
	return hits
}

// meet notes for all entries which units they have. Rare ones come first: when as many entries
// take part as may, others add to these alone.
func (x *Index) meet(s *scratch, units []unit) {
	order := make([]int, len(units))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(mass(&units[b], s.idf), mass(&units[a], s.idf)) })
	left := mostPostings
	for _, u := range order {
		for _, a := range units[u].alternatives {
			if s.quality[a.tok] == 0 {
				s.used = append(s.used, a.tok)
			}
			s.quality[a.tok] = max(s.quality[a.tok], a.quality)
			list := x.postings[a.tok]
			list = list[:min(len(list), left)]
			left -= len(list)
			hundredth := s.idf[a.tok] * a.quality / 100
			for _, number := range list {
				w := x.worths[number]
				if w.seen&s.view == 0 {
					continue
				}
				e := s.of(int(w.node))
				if e == nil {
					if len(s.entries) == mostNodes {
						continue
					}
					e = s.begin(w.node)
				}
				if value := hundredth * float32(w.weight); value > e.met[u].value {
					e.met[u] = met{value, a.tok, number}
				}
			}
		}
	}
}

func (s *scratch) begin(node uint32) *entry {
	s.slot[node] = uint32(len(s.entries)) //nolint:gosec // at most mostNodes
	s.entries = append(s.entries, entry{node: node})
	return &s.entries[len(s.entries)-1]
}

// rank sorts the leaves that were met, or are below what was met.
func (x *Index) rank(s *scratch, units []unit) {
	var all float32
	for i := range units {
		all += mass(&units[i], s.idf)
	}
	for i := range s.entries {
		x.descend(s, int(s.entries[i].node))
	}
	for i := range s.ranked {
		h := &s.ranked[i]
		h.Score = x.score(s, h.Node, len(units))
		h.Strength = min(h.Score/all, 1)
	}
	x.sort(s, mostRanked)
	for i := range s.ranked {
		s.ranked[i].Score += whole * x.wholeness(s, s.ranked[i].Node)
	}
	x.sort(s, mostRanked)
}

// sort puts the best in order and leaves the others out.
func (x *Index) sort(s *scratch, most int) {
	better := func(a, b *Hit) bool {
		switch {
		case a.Score != b.Score:
			return a.Score > b.Score
		case x.nodes[a.Node].last != x.nodes[b.Node].last:
			return x.nodes[b.Node].last
		}
		return a.Node < b.Node
	}
	best := s.ranked[:0]
	for _, h := range s.ranked {
		at := len(best)
		if at < most {
			best = append(best, h)
		} else if at--; !better(&h, &best[at]) {
			continue
		}
		for ; at > 0 && better(&h, &best[at-1]); at-- {
			best[at] = best[at-1]
		}
		best[at] = h
	}
	s.ranked = best
}

// descend takes the leaves from a node down that were not met themselves: these differ by their
// place alone, so that the first are enough.
func (x *Index) descend(s *scratch, node int) {
	if x.nodes[node].leaf&s.view != 0 {
		s.ranked = append(s.ranked, Hit{Node: node})
	}
	taken := 0
	for _, child := range x.childrenOf(node) {
		if taken == mostRanked || len(s.ranked) >= mostNodes {
			return
		}
		if s.of(int(child)) == nil {
			taken++
			x.descend(s, int(child))
		}
	}
}

// score adds what each unit met in a leaf or above it, where it counts most.
func (x *Index) score(s *scratch, leaf, units int) (sum float32) {
	var line [3]*entry
	x.line(s, leaf, &line)
	for u := range units {
		most, _ := best(&line, u)
		sum += most
	}
	return sum
}

// shares is what a word counts in a leaf, above it, and on top.
var shares = [3]float32{1, inTopic, inTheme}

// line are the entries of a leaf and of what it is in.
func (x *Index) line(s *scratch, leaf int, line *[3]*entry) {
	for i, node := 0, leaf; i < len(line) && node >= 0; i, node = i+1, int(x.nodes[node].parent) {
		line[i] = s.of(node)
	}
}

// best is where a unit counts most.
func best(line *[3]*entry, u int) (most float32, at *met) {
	for i, e := range line {
		if e == nil {
			continue
		}
		if value := e.met[u].value * shares[i]; value > most {
			most, at = value, &e.met[u]
		}
	}
	return most, at
}

// wholeness is what the texts of a leaf and above it add that were met whole, or nearly.
func (x *Index) wholeness(s *scratch, leaf int) (sum float32) {
	share := float32(1)
	for node := leaf; node >= 0; node = int(x.nodes[node].parent) {
		if s.of(node) != nil {
			sum += share * x.wholest(s, node)
		}
		share *= inTopic
	}
	return sum
}

func (x *Index) wholest(s *scratch, node int) (most float32) {
	from, to := x.nodes[node].phrases, x.nodes[node+1].phrases
	for number := from; number < min(to, from+mostTexts); number++ {
		w := x.worths[number]
		if w.seen&s.view == 0 {
			continue
		}
		var has, of float32
		for at := x.phrases[number].toks; x.toks[at] != end; at++ {
			t := x.toks[at]
			of += s.idf[t]
			q := s.quality[t]
			if q == 0 {
				for _, means := range x.meanings[t] {
					q = max(q, s.quality[means]*synonym)
				}
			}
			has += s.idf[t] * q
		}
		if of > 0 {
			share := has / of
			most = max(most, float32(w.weight)/100*has*share*share)
		}
	}
	return most
}

// mostWhy is how many words of a question are explained.
const mostWhy = 4

// why says which units met which words, those that count most first.
func (x *Index) why(s *scratch, query string, units []unit, leaf int) []Why {
	type reason struct {
		value float32
		at    *met
		span  span
	}
	var line [3]*entry
	x.line(s, leaf, &line)
	reasons := make([]reason, 0, MaxWords)
	for u := range units {
		if value, at := best(&line, u); value > 0 {
			reasons = append(reasons, reason{value, at, units[u].span})
		}
	}
	slices.SortStableFunc(reasons, func(a, b reason) int { return cmp.Compare(b.value, a.value) })
	list := make([]Why, 0, mostWhy)
	for _, r := range reasons {
		p := &x.phrases[r.at.phrase]
		w := Why{Typed: query[r.span.from:r.span.to], Found: p.text, Node: int(x.worths[r.at.phrase].node)}
		if p.spans != noSpans {
			w.Found = x.within(p, r.at.tok)
		}
		same := func(other Why) bool { return other.Found == w.Found && other.Node == w.Node }
		if len(list) < mostWhy && !slices.ContainsFunc(list, same) {
			list = append(list, w)
		}
	}
	return list
}

// within are the words of a label that are a tok, or mean it.
func (x *Index) within(p *phrase, t tok) string {
	toks := x.toksOf(p)
	from, n := 0, len(toks)
	for i, has := range toks {
		if has == t || slices.Contains(x.meanings[has], t) {
			from, n = i, 1
			break
		}
		for _, s := range x.sequences[has] {
			if took := s.match(toks[i:], func(j int, t tok) bool { return toks[i+j] == t }); s.means == t && took > 0 {
				from, n = i, took
			}
		}
	}
	if n == 0 {
		return p.text
	}
	spans := x.spans[p.spans:]
	return p.text[spans[from].from:spans[from+n-1].to]
}
