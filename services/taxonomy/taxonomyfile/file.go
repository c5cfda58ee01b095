// Package taxonomyfile reads the file that a taxonomy is written in, and checks it.
//
// What is promised: a file without faults can be served, and people see nothing in it that is
// empty, invisible, twice beside itself or leads nowhere: each label shows something, each contact
// point and address is one by the rules for members' own (chassis/contact), and each reason
// that somebody can choose has a service of the fund and a target. A file with faults has all of
// them reported at once, each with its line, its column, a stable code and what to do about it.
//
// How: the characters are checked first (source.go), as a file that was pasted together has some
// that YAML misreads; then what the decoder cannot place; then what the entries mean (lint.go).
// The same check runs when taxonomy starts and as `messagerie taxonomy lint`.
//
// When it breaks: YAML that cannot be read at all has its first fault reported and no other, on
// the line that the library names. Whether an address answers, or a number is the right one, is
// not checked.
package taxonomyfile

import (
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// File is a taxonomy as written by its editors. catalogue.yaml documents it, and
// docs/operations.md the terms of conversations, of which that file has none.
type File struct {
	Version    Number     `yaml:"version"`
	TextLimits TextLimits `yaml:"text_limits"`
	Audiences  []Audience `yaml:"audiences"`
	Queues     []Queue    `yaml:"queues"`
	Services   []Service  `yaml:"services"`
	// Synonyms are lists of what means the same to the search.
	Synonyms [][]Mark `yaml:"synonyms"`
	Themes   []Theme  `yaml:"themes"`
}

// TextLimits are the characters that a message has.
type TextLimits struct {
	Min Number `yaml:"min"`
	Max Number `yaml:"max"`
}

// Audience is how deep an audience chooses, and where it sends documents.
type Audience struct {
	Code               Mark `yaml:"code"`
	Depth              Mark `yaml:"depth"`
	DocumentDepositURL Mark `yaml:"document_deposit_url"`
}

// Queue is a service of the fund that answers. Members are shown all of it but the code.
type Queue struct {
	Code          Mark   `yaml:"code"`
	Label         Mark   `yaml:"label"`
	PostalAddress Mark   `yaml:"postal_address"`
	Phone         Mark   `yaml:"phone"`
	Email         Mark   `yaml:"email"`
	AnswerDays    Number `yaml:"answer_days"`
}

// Service is an online service.
type Service struct {
	Code      Mark   `yaml:"code"`
	Name      Mark   `yaml:"name"`
	URL       Mark   `yaml:"url"`
	External  bool   `yaml:"external"`
	Audiences []Mark `yaml:"audiences"`
	Keywords  []Mark `yaml:"keywords"`
}

// Node is what themes, topics and reasons have in common.
type Node struct {
	Code  Mark `yaml:"code"`
	Label Mark `yaml:"label"`
	Help  Mark `yaml:"help"`
	// Keywords are what people call it, for the search.
	Keywords []Mark `yaml:"keywords"`
	// Audiences narrow those of the level above; without the key they are the same.
	Audiences []Mark `yaml:"audiences"`
	// Services is nil when the key is absent: the level above then decides.
	Services *[]Mark `yaml:"services"`
	// Retention is for how many years conversations are kept after their end; nil when the
	// key is absent: the level above then decides, and above the theme messaging's setting.
	Retention *Number `yaml:"retention"`
}

// Theme is chosen first.
type Theme struct {
	Node   `yaml:",inline"`
	Queue  Mark    `yaml:"queue"`
	Topics []Topic `yaml:"topics"`
}

// Topic is chosen within a theme.
type Topic struct {
	Node    `yaml:",inline"`
	Reasons []Reason `yaml:"reasons"`
}

// Reason is chosen within a topic.
type Reason struct {
	Node `yaml:",inline"`
}

// Other is the code of the choice that is for what fits none of the others.
const Other = "autre"

// AudienceOf has the audiences by their codes in files.
var AudienceOf = map[string]taxonomypb.Audience{
	"PARTICULIER": taxonomypb.Audience_PARTICULIER,
	"EXPLOITANT":  taxonomypb.Audience_EXPLOITANT,
	"EMPLOYEUR":   taxonomypb.Audience_EMPLOYEUR,
}

// DepthOf has the depths by their names in files.
var DepthOf = map[string]taxonomypb.Depth{
	"THEME": taxonomypb.Depth_THEME, "TOPIC": taxonomypb.Depth_TOPIC, "REASON": taxonomypb.Depth_REASON,
}

// slug is the form of a code: codes are part of URLs, events and statistics.
var slug = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

const (
	maxCode  = 64
	maxLabel = 200
	// maxHelp is the most characters of what is written beside a choice.
	maxHelp = 500
	// The most that a search is given: characters of a keyword or synonym, keywords of one
	// entry, synonyms of one list, and lists. They bound the memory and time of its index.
	maxKeyword    = 80
	maxKeywords   = 80
	maxSynonyms   = 40
	maxSynonymous = 1000
	// maxAnswerDays keeps an answer time within what the law of implicit
	// decisions leaves (two months) and within a smallint.
	maxAnswerDays = 60
	// maxRetention is the most years for which conversations are kept.
	maxRetention = 30
	// maxText is the most characters that a message may have in the store.
	maxText = 750
	minText = 10
	// maxVersion is the largest integer of the column and of the wire.
	maxVersion = math.MaxInt32
)

// Parse reads a file and checks it whole. Its error is [Faults].
func Parse(name string, content []byte) (*File, error) {
	r := &report{name: name}
	src := source{report: r}
	text, ok := src.clean(content)
	if !ok {
		return nil, r.err()
	}
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		r.syntax(&src, err)
		return nil, r.err()
	}
	var f File
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	err := decoder.Decode(&f)
	var list *yaml.TypeError
	switch {
	case errors.Is(err, io.EOF):
		r.fault(Place{}, fileEmpty, "begin with a copy of catalogue.yaml", "the file is empty")
		return nil, r.err()
	case err != nil && !errors.As(err, &list):
		r.syntax(&src, err)
		return nil, r.err()
	case err != nil:
		// With keys or values that do not fit, the rest has been read and is checked too.
		r.unfit(&document, list)
	}
	var more yaml.Node
	if err := decoder.Decode(&more); err == nil {
		r.fault(Place{more.Line, more.Column}, documentSecond, "take out the line ---, or keep what is behind it in a file of its own", "a second document begins here; a taxonomy is one")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(&src, err)
	}
	lint := linter{report: r, file: &f}
	lint.locate(&document)
	lint.check()
	return &f, r.err()
}

// Read takes a version that was checked when it was published. It is not checked
// again: rules may have been tightened since, and while a newer binary is rolled
// out it may hold keys that this one does not know. It stops only at what could
// not be served.
func Read(content []byte) (*File, error) {
	var f File
	if err := yaml.Unmarshal(content, &f); err != nil {
		return nil, err
	}
	for _, a := range f.Audiences {
		if AudienceOf[a.Code.Word] == 0 || DepthOf[a.Depth.Word] == 0 {
			return nil, fmt.Errorf("line %d: audience %q with depth %q: a newer binary is needed", a.Code.Line, a.Code, a.Depth)
		}
	}
	return &f, nil
}

var (
	syntaxLine = regexp.MustCompile(`(?s)^(?:yaml: )?line (\d+): (.*)$`)
	noAnchor   = regexp.MustCompile(`^unknown anchor '(.*)' referenced`)
	unfitPlace = regexp.MustCompile(`(?s)^line (\d+): column (\d+): (.*)$`)
	unfitKey   = regexp.MustCompile(`(?s)^field (.*) not found in type `)
	unfitValue = regexp.MustCompile(`(?s)^cannot unmarshal (!!\w+)(.*) into (.*)$`)
)

// syntax reports what is no YAML, unless a tab before it is the cause and reported.
func (r *report) syntax(src *source, err error) {
	line, text := 1, strings.TrimPrefix(err.Error(), "yaml: ")
	if parts := syntaxLine.FindStringSubmatch(text); parts != nil {
		line, _ = strconv.Atoi(parts[1])
		text = parts[2]
	}
	at := src.first(line)
	if parts := noAnchor.FindStringSubmatch(text); parts != nil {
		at = src.find("*" + parts[1])
	}
	if src.tab == 0 || line+1 < src.tab {
		r.fault(at, syntaxInvalid, "compare the line, and those before it, with catalogue.yaml", "%s", forYAML(text))
	}
}

// unfit reports what the decoder found no place for. It knows lines: the columns are those of the
// nodes there. A key that stands twice is for [linter.twice].
func (r *report) unfit(document *yaml.Node, list *yaml.TypeError) {
	for _, text := range list.Errors {
		at, reason := Place{}, text
		if parts := unfitPlace.FindStringSubmatch(text); parts != nil {
			at.Line, _ = strconv.Atoi(parts[1])
			at.Column, _ = strconv.Atoi(parts[2])
			r.fault(at, kindInvalid, "write one word or text", "%s", parts[3])
			continue
		}
		if parts := syntaxLine.FindStringSubmatch(text); parts != nil {
			at.Line, _ = strconv.Atoi(parts[1])
			reason = parts[2]
		}
		if parts := unfitKey.FindStringSubmatch(reason); parts != nil {
			at.Column = columnOf(document, at.Line, true, func(n *yaml.Node) bool { return n.Value == parts[1] })
			r.fault(at, keyUnknown, "see catalogue.yaml for the keys and what they mean", "%q is no key here", parts[1])
			continue
		}
		if parts := unfitValue.FindStringSubmatch(reason); parts != nil {
			at.Column = columnOf(document, at.Line, false, func(n *yaml.Node) bool { return n.ShortTag() == parts[1] })
			r.fault(at, kindInvalid, "see catalogue.yaml for an example of each key", "%s is wanted here, not %s", kindOf(parts[3]), kindOf(parts[1]))
			continue
		}
		if !strings.Contains(reason, "already defined") {
			at.Column = columnOf(document, at.Line, false, func(*yaml.Node) bool { return true })
			r.fault(at, kindInvalid, "see catalogue.yaml for an example of each key", "%s", reason)
		}
	}
}

// kindOf is a type of Go, or a tag of YAML, as an editor knows it.
func kindOf(name string) string {
	switch {
	case name == "bool":
		return "true or false"
	case name == "!!seq", strings.HasPrefix(name, "[]"), strings.HasPrefix(name, "*[]"):
		return "a list"
	case name == "!!map", strings.HasPrefix(name, "taxonomyfile."):
		return "a mapping of keys"
	case name == "!!int", name == "!!float":
		return "a number"
	}
	return "a word"
}

// columnOf is where the first node of a line stands that is meant, of the keys or of the values,
// else the first at all.
func columnOf(document *yaml.Node, line int, keys bool, meant func(*yaml.Node) bool) int {
	best, first := 0, 0
	var walk func(n *yaml.Node, isKey bool)
	walk = func(n *yaml.Node, isKey bool) {
		if n.Line == line && n.Kind != yaml.DocumentNode {
			if first == 0 || n.Column < first {
				first = n.Column
			}
			if isKey == keys && (best == 0 || n.Column < best) && meant(n) {
				best = n.Column
			}
		}
		for i, child := range n.Content {
			walk(child, n.Kind == yaml.MappingNode && i%2 == 0)
		}
	}
	walk(document, false)
	if best == 0 {
		return first
	}
	return best
}
