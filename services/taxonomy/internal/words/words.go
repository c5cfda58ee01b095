// Package words finds entries of a tree by the words that people use for them.
//
// # What is promised
//
// [New] makes an [Index] of a tree: themes over topics over reasons, each with its label and
// keywords. [Index.Search] ranks the leaves for a question as somebody types it: a word, the
// beginning of one, or a sentence with its politeness. Words meet by their stem, without
// accents, case, elided articles and apostrophes that are missing ("lattestation"), by
// synonyms of one word or several, by sound ("aloc") and by spelling (one letter wrong, missing,
// added or swapped with its neighbour; two in words of eight letters or more).
//
// A word counts the more the fewer entries have it, and more in the entry than above it. What
// was found says which word of the question met which words of the tree. The order is the same
// for the same question and tree; between equals that of the tree decides.
//
// A search takes bounded time, whatever is asked: of a question the first [MaxWords] words count,
// each with a bounded number of spellings, and the words that most entries have are looked up in
// no more than a bounded number of them.
//
// # When it breaks
//
// Nothing of it fails: what matches nothing gives an empty list, and what matches a little is
// given with a low [Hit.Strength]. It knows the words of the tree and of the synonyms alone. A
// word that is neither is taken for the one that is spelt most like it, which may be another word.
//
// An index never changes and may be searched from many goroutines.
package words

import (
	"math"
	"sync"
)

// MaxWords is how many words of a question count.
const MaxWords = 12

// Views is a set of views of the tree: each sees some of it, and ranks by what it sees.
type Views uint8

// maxViews is how many there may be.
const maxViews = 8

// View is the set of one view, numbered from 0 to 7.
func View(n int) Views { return 1 << n }

// Node is an entry of the tree, given after the one that it is in.
type Node struct {
	// Parent is the place of the entry above in the list, -1 at the top.
	Parent int
	// Leaf are the views in which it can be found.
	Leaf Views
	// Last: it comes after its equals ("other").
	Last  bool
	Texts []Text
}

// Text is what an entry is called.
type Text struct {
	Text string
	// Weight is how much a word of it says about the entry: 1 for the label.
	Weight float32
	// Label: a word met in it is named alone, not with the whole text.
	Label bool
	// Seen are the views that have it.
	Seen Views
}

// Hit is a leaf that was found.
type Hit struct {
	// Node is its place in the list.
	Node int
	// Score orders hits of one question. Strength is the share of the question that was found in
	// the entry and above, from 0 to 1.
	Score, Strength float32
	Why             []Why
}

// Why says that words of a question met words of an entry.
type Why struct {
	// Typed are the words of the question.
	Typed string
	// Found are those of the tree: a keyword, or the words of a label, as they are written there.
	Found string
	// Node is the entry that has them: the leaf or one above it.
	Node int
}

// tok numbers a stem, or what a group of synonyms means.
type tok = uint32

// phrase is a text of an entry. There may be hundreds of thousands.
type phrase struct {
	text string
	// toks is where those of its words begin in Index.toks, up to an end; spans is where the
	// places of a label's words in text begin, noSpans for what is no label.
	toks, spans uint32
}

const noSpans = ^uint32(0)

// worth is what a word in a phrase says about which node. It is apart from the phrase, so that
// what a search looks at most is small.
type worth struct {
	node uint32
	// weight is in hundredths.
	weight uint8
	seen   Views
}

type span struct{ from, to uint16 }

// sequence is a synonym of several words.
type sequence struct {
	// toks are its words; those that are not needed may be missing.
	toks   []tok
	needed []bool
	means  tok
}

// class is how much a word says.
type class uint8

const (
	content class = iota
	weak          // of questions and answers: counts a little
	stop          // says nothing, except in a synonym of several words
)

// node is an entry.
type node struct {
	parent int32
	leaf   Views
	last   bool
	// children and phrases are where its own begin; the next node's follow.
	children, phrases uint32
}

// Index is a tree, ready to be searched.
type Index struct {
	nodes    []node
	children []uint32
	phrases  []phrase
	worths   []worth
	toks     []tok
	spans    []span

	// stems numbers stems; classes, idf and postings are by number.
	stems   map[string]tok
	classes []class
	// idf is how rare a tok is in each view, 0 for one that the view does not have.
	idf [maxViews][]float32
	// postings are the phrases that have a tok.
	postings [][]uint32

	// words are all spellings, sorted, with their stem.
	words   []string
	wordTok []tok
	// deletes and sounds lead from what a word becomes with letters missing, or sounds like, to
	// words: its hash above the word's number, sorted.
	deletes, sounds []uint64

	// meanings are the groups of a stem, and sequences the synonyms that begin with it.
	meanings  [][]tok
	sequences map[tok][]sequence

	scratches sync.Pool
}

// rarity is the weight of what df of n entries have.
func rarity(n, df int) float32 {
	return float32(math.Log(1 + (float64(n-df)+0.5)/(float64(df)+0.5)))
}

// childrenOf are the nodes below one.
func (x *Index) childrenOf(n int) []uint32 {
	return x.children[x.nodes[n].children:x.nodes[n+1].children]
}

// toksOf are the words of a text.
func (x *Index) toksOf(p *phrase) []tok {
	n := p.toks
	for n < uint32(len(x.toks)) && x.toks[n] != end { //nolint:gosec // some hundred thousand
		n++
	}
	return x.toks[p.toks:n]
}

// end follows the words of each text.
const end = ^tok(0)
