package taxonomyfile

import (
	"fmt"
	"math"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Place is where something stands in a file, from 1; 0 where it is missing.
type Place struct{ Line, Column int }

// Mark is a scalar with its place. Only scalars are marked, so that the decoder still refuses
// unknown keys around them.
type Mark struct {
	Word string
	Place
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (m *Mark) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return placed(n, "a list or mapping where a single word is wanted")
	}
	m.Word, m.Place = n.Value, Place{n.Line, n.Column}
	return nil
}

// String is the word.
func (m Mark) String() string { return m.Word }

// begin gives a word that is missing the place at which its entry begins.
func (m *Mark) begin(entry *yaml.Node) {
	if m.Line == 0 {
		m.Place = Place{entry.Line, entry.Column}
	}
}

// Number is a whole number with its place. What YAML takes for one in other forms (3.0, 010, 0x10)
// is a fault when a file is checked, and was not always.
type Number struct {
	Value int32
	Mark
	quoted bool
}

// UnmarshalYAML implements yaml.Unmarshaler. What is no number at all has the value 0.
func (n *Number) UnmarshalYAML(from *yaml.Node) error {
	if err := n.Mark.UnmarshalYAML(from); err != nil {
		return err
	}
	n.quoted = from.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) != 0
	var value int32
	if from.Decode(&value) == nil {
		n.Value = value
	}
	return nil
}

// whole is how a number is written.
var whole = regexp.MustCompile(`^(?:0|-?[1-9][0-9]*)$`)

func (n Number) isWhole() bool { return !n.quoted && whole.MatchString(n.Word) }

// number checks one that must be from least to most.
func (l *linter) number(what string, n Number, missing Place, least, most int32) {
	hint := fmt.Sprintf("write a number from %d to %d, in digits alone", least, most)
	value, err := strconv.ParseInt(n.Word, 10, 64)
	if err != nil {
		value = math.MaxInt64
	}
	switch {
	case n.Line == 0:
		l.fault(missing, numberMissing, hint, "%s has no number", what)
	case !n.isWhole():
		l.fault(n.Place, numberNotWhole, hint, "%s is %q, not a whole number", what, n.Word)
	case value < int64(least) || value > int64(most):
		l.fault(n.Place, numberOutOfRange, hint, "%s is %s, not within %d to %d", what, n.Word, least, most)
	}
}

// placed is an error of the decoder, which knows lines alone, with a column.
func placed(n *yaml.Node, text string) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: column %d: %s", n.Line, n.Column, text)}}
}
