package words

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"unicode"
)

const (
	// weakMost is the most that a word of questions counts.
	weakMost = 0.9
	// unknown is what a word counts of which nothing was found, for the strength.
	unknown = 2.5
	// mostAlternatives bounds what a word may stand for, mostPrefixed how many words it begins,
	// and mostSpelt how many candidates are compared with it.
	mostAlternatives = 24
	mostPrefixed     = 48
	mostSpelt        = 256
	mostWords        = 40
)

// How well a tok stands for a word that was typed.
const (
	sameWord  = 1.0
	sameStem  = 0.97
	noElision = 0.95
	synonym   = 0.85
	joined    = 0.9
	sounding  = 0.75
	oneOff    = 0.8
	twoOff    = 0.6
	beginning = 0.7
)

// alternative is a tok that a word of a question may stand for.
type alternative struct {
	tok     tok
	quality float32
}

// unit is a word of a question, or several that mean something together.
type unit struct {
	span         span
	class        class
	alternatives []alternative
}

// add notes an alternative, the better quality counts.
func (u *unit) add(t tok, quality float32) {
	for i := range u.alternatives {
		if a := &u.alternatives[i]; a.tok == t {
			a.quality = max(a.quality, quality)
			return
		}
	}
	if len(u.alternatives) < mostAlternatives {
		u.alternatives = append(u.alternatives, alternative{t, quality})
	}
}

// parse turns a question into what is looked for, the first MaxWords units.
func (x *Index) parse(query string, idf []float32) []unit {
	list := split(query)
	list = list[:min(len(list), mostWords)]
	var units []unit
	for i := range list {
		units = append(units, x.understand(list[i]))
	}
	found := x.findSequences(units)
	found = x.joinWords(found, list)
	found = x.cutWords(found, list, units)
	units = append(units, found...)
	for i := range units {
		x.addMeanings(&units[i])
	}
	spoken := units[:0]
	for _, u := range units {
		if u.class != stop {
			spoken = append(spoken, u)
		}
	}
	if len(spoken) > MaxWords {
		// Those that say most are kept.
		slices.SortStableFunc(spoken, func(a, b unit) int { return cmp.Compare(mass(&b, idf), mass(&a, idf)) })
		spoken = spoken[:MaxWords]
	}
	return spoken
}

// understand finds what one word of a question may stand for: itself, else without what is
// written together with it, else what sounds or is spelt like it.
func (x *Index) understand(w word) unit {
	u := unit{span: w.span}
	switch {
	case x.exact(&u, w.folded, 1):
	case isNumber(w.folded):
		u.class = stop
	case !x.withoutArticle(&u, w.folded):
		x.similar(&u, w)
	}
	if w.open && u.class != stop || len(u.alternatives) == 0 && len(w.folded) >= 3 {
		x.begins(&u, w.folded)
	}
	return u
}

// isNumber reports whether a word is an amount, a date or a number of somebody.
func isNumber(folded string) bool {
	return !strings.ContainsFunc(folded, func(r rune) bool { return !unicode.IsDigit(r) })
}

// exact adds the word itself, or one of the same stem.
func (x *Index) exact(u *unit, folded string, quality float32) bool {
	if at := x.place(folded); at >= 0 {
		t := x.wordTok[at]
		u.class = x.classes[t]
		u.add(t, sameWord*quality)
		return true
	}
	if t, ok := x.stems[stemOf(folded)]; ok {
		u.add(t, sameStem*quality)
		return true
	}
	return false
}

// place is where a spelling is among the words, -1 if it is not.
func (x *Index) place(folded string) int {
	if at := sort.SearchStrings(x.words, folded); at < len(x.words) && x.words[at] == folded {
		return at
	}
	return -1
}

// withoutArticle takes an elided word from the beginning, whose apostrophe was not typed:
// "lattestation", "jai".
func (x *Index) withoutArticle(u *unit, folded string) bool {
	for _, article := range []string{"qu", "l", "d", "j", "n", "m", "s", "t", "c"} {
		rest, ok := strings.CutPrefix(folded, article)
		if ok && len(rest) >= 3 && strings.IndexByte("aeiouyh", rest[0]) >= 0 && x.exact(u, rest, noElision) {
			return true
		}
	}
	return false
}

// similar adds what sounds or is spelt like a word.
func (x *Index) similar(u *unit, w word) {
	if len(w.folded) < 3 || !isASCII(w.folded) {
		return
	}
	if sound := soundOf(w.folded); sound != "" {
		for _, n := range appendAmong(nil, x.sounds, hash(sound), mostAlternatives) {
			if soundOf(x.words[n]) == sound {
				u.add(x.wordTok[n], sounding)
			}
		}
	}
	x.misspelt(u, w)
}

// misspelt adds the words that are fewest letters away, and those one further.
func (x *Index) misspelt(u *unit, w word) {
	if len(w.folded) < fuzzyFrom {
		return
	}
	candidates := make([]uint32, 0, mostSpelt)
	for _, shorter := range deletesOf(w.folded) {
		candidates = appendAmong(candidates, x.deletes, hash(shorter), mostSpelt)
	}
	slices.Sort(candidates)
	for _, n := range slices.Compact(candidates) {
		known := x.words[n]
		wrong := misspelling(w, known)
		// Short words that begin otherwise are other words: ligne, vigne.
		begins := known[0] == w.folded[0]
		switch {
		case wrong <= 1 && (begins || len(w.folded) >= otherBegin):
			u.add(x.wordTok[n], oneOff)
		case wrong == 2 && begins:
			u.add(x.wordTok[n], twoOff)
		}
	}
	slices.SortStableFunc(u.alternatives, func(a, b alternative) int {
		return cmp.Or(cmp.Compare(b.quality, a.quality), cmp.Compare(a.tok, b.tok))
	})
}

// misspelling is how many letters of a word are wrong; more than two, or than its length allows,
// are 3.
func misspelling(w word, known string) int {
	most := 1
	if max(len(known), len(w.folded)) >= fuzzyTwice && min(len(known), len(w.folded)) >= fuzzyTwice-2 {
		most = 2
	}
	if d := distance(w.folded, known, most); d <= most {
		return d
	}
	// What is being typed may be the beginning of a word.
	for n := len(w.folded) - 1; most == 2 && w.open && n <= len(w.folded)+1 && n < len(known); n++ {
		if distance(w.folded, known[:n], 1) <= 1 {
			return 2
		}
	}
	return 3
}

// appendAmong adds the numbers that follow a hash in a sorted list, until there are so many.
func appendAmong(numbers []uint32, list []uint64, h uint32, most int) []uint32 {
	at, _ := slices.BinarySearch(list, key(h, 0))
	for ; at < len(list) && uint32(list[at]>>32) == h && len(numbers) < most; at++ {
		numbers = append(numbers, uint32(list[at])) //nolint:gosec // the lower half
	}
	return numbers
}

// begins adds the words that begin with this one.
func (x *Index) begins(u *unit, folded string) {
	if len(folded) < 2 {
		return
	}
	for at, n := sort.SearchStrings(x.words, folded), 0; at < len(x.words) && n < mostPrefixed && strings.HasPrefix(x.words[at], folded); at, n = at+1, n+1 {
		if x.classes[x.wordTok[at]] != stop && x.words[at] != folded {
			// The more of it is there, the likelier it is meant.
			u.add(x.wordTok[at], beginning*(0.6+0.4*float32(len(folded))/float32(len(x.words[at]))))
		}
	}
}

// joinWords adds words that were typed as two: "télé règlement".
func (x *Index) joinWords(units []unit, list []word) []unit {
	for i := 1; i < len(list); i++ {
		whole := list[i-1].folded + list[i].folded
		if len(whole) < 5 {
			continue
		}
		if t, ok := x.telling(whole); ok {
			units = append(units, unit{
				span:         span{list[i-1].span.from, list[i].span.to},
				alternatives: []alternative{{t, joined}},
			})
		}
	}
	return units
}

// cutWords adds words that were typed as one, and of which nothing else was found: "cartevitale".
func (x *Index) cutWords(units []unit, list []word, understood []unit) []unit {
	for i, w := range list {
		if len(understood[i].alternatives) > 0 || understood[i].class == stop {
			continue
		}
		for cut := 3; cut <= len(w.folded)-3; cut++ {
			left, ok1 := x.telling(w.folded[:cut])
			right, ok2 := x.telling(w.folded[cut:])
			if ok1 && ok2 {
				units = append(units,
					unit{span: w.span, alternatives: []alternative{{left, joined}}},
					unit{span: w.span, alternatives: []alternative{{right, joined}}})
				understood[i].class = stop // nothing is missing
				break
			}
		}
	}
	return units
}

// telling is the stem of a word that is known and says something.
func (x *Index) telling(folded string) (tok, bool) {
	at := x.place(folded)
	if at < 0 || x.classes[x.wordTok[at]] != content {
		return 0, false
	}
	return x.wordTok[at], true
}

// findSequences are the synonyms of several words that are in the question.
func (x *Index) findSequences(units []unit) (found []unit) {
	rest := make([]tok, len(units)) // only its length counts
	for i := range units {
		for _, a := range units[i].alternatives {
			for _, s := range x.sequences[a.tok] {
				took := s.match(rest[i:], func(j int, t tok) bool {
					return slices.ContainsFunc(units[i+j].alternatives, func(a alternative) bool { return a.tok == t && a.quality >= twoOff })
				})
				if took > 0 {
					found = append(found, unit{
						span:         span{units[i].span.from, units[i+took-1].span.to},
						alternatives: []alternative{{s.means, sameStem}},
					})
				}
			}
		}
	}
	return found
}

// addMeanings adds what the alternatives mean.
func (x *Index) addMeanings(u *unit) {
	for _, a := range slices.Clone(u.alternatives) {
		for _, means := range x.meanings[a.tok] {
			u.add(means, a.quality*synonym)
		}
	}
}

// mass is how much a unit counts.
func mass(u *unit, idf []float32) float32 {
	most := float32(0)
	for _, a := range u.alternatives {
		most = max(most, idf[a.tok]*a.quality)
	}
	switch {
	case u.class == weak:
		return min(most, weakMost)
	case most == 0:
		return unknown
	}
	return most
}

// distance is how many letters must be changed, added, left out or swapped with their neighbour
// to come from one word to the other; more than most is only known to be more.
func distance(a, b string, most int) int {
	if len(a)-len(b) > most || len(b)-len(a) > most {
		return most + 1
	}
	const row = 64
	if len(a) >= row || len(b) >= row {
		return most + 1
	}
	var rows [3][row]int8
	before, last, next := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = int8(j)
	}
	for i := 1; i <= len(a); i++ {
		next[0] = int8(i)
		least := next[0]
		for j := 1; j <= len(b); j++ {
			cost := int8(1)
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(last[j]+1, next[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, before[j-2]+1)
			}
			next[j] = d
			least = min(least, d)
		}
		if int(least) > most {
			return most + 1
		}
		before, last, next = last, next, before
	}
	return int(last[len(b)])
}
