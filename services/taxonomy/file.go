package taxonomy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// file is a taxonomy as written by its editors. catalogue.yaml documents it, and
// docs/operations.md the terms of conversations, of which that file has none.
type file struct {
	Version    int             `yaml:"version"`
	TextLimits textLimits      `yaml:"text_limits"`
	Audiences  []audienceEntry `yaml:"audiences"`
	Queues     []queueEntry    `yaml:"queues"`
	Services   []serviceEntry  `yaml:"services"`
	// Synonyms are lists of what means the same to the search.
	Synonyms [][]mark     `yaml:"synonyms"`
	Themes   []themeEntry `yaml:"themes"`
}

type textLimits struct {
	Min int32 `yaml:"min"`
	Max int32 `yaml:"max"`
}

type audienceEntry struct {
	Code               mark   `yaml:"code"`
	Depth              mark   `yaml:"depth"`
	DocumentDepositURL string `yaml:"document_deposit_url"`
}

type queueEntry struct {
	Code          mark   `yaml:"code"`
	Label         string `yaml:"label"`
	PostalAddress string `yaml:"postal_address"`
	Phone         string `yaml:"phone"`
	Email         string `yaml:"email"`
	AnswerDays    int32  `yaml:"answer_days"`
}

type serviceEntry struct {
	Code      mark   `yaml:"code"`
	Name      string `yaml:"name"`
	URL       string `yaml:"url"`
	External  bool   `yaml:"external"`
	Audiences []mark `yaml:"audiences"`
	Keywords  []mark `yaml:"keywords"`
}

// node is what themes, topics and reasons have in common.
type node struct {
	Code  mark   `yaml:"code"`
	Label string `yaml:"label"`
	Help  string `yaml:"help"`
	// Keywords are what people call it, for the search.
	Keywords []mark `yaml:"keywords"`
	// Audiences narrow those of the level above; without the key they are the same.
	Audiences []mark `yaml:"audiences"`
	// Services is nil when the key is absent: the level above then decides.
	Services *[]mark `yaml:"services"`
	// Retention is for how many years conversations are kept after their end; nil when the
	// key is absent: the level above then decides, and above the theme messaging's setting.
	Retention *int32 `yaml:"retention"`
}

type themeEntry struct {
	node   `yaml:",inline"`
	Queue  mark         `yaml:"queue"`
	Topics []topicEntry `yaml:"topics"`
}

type topicEntry struct {
	node    `yaml:",inline"`
	Reasons []reasonEntry `yaml:"reasons"`
}

type reasonEntry struct {
	node `yaml:",inline"`
}

// other is the code of the choice that is for what fits none of the others.
const other = "autre"

// mark is a scalar with the number of its line. Only scalars are marked, so that the
// decoder still refuses unknown keys around them.
type mark struct {
	word string
	line int
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (m *mark) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: a single word is wanted", n.Line)}}
	}
	m.word, m.line = n.Value, n.Line
	return nil
}

// begin gives a word that is missing the line on which its entry begins.
func (m *mark) begin(entry *yaml.Node) {
	if m.line == 0 {
		m.line = entry.Line
	}
}

// audienceNames are the audiences by their codes in files.
var audienceNames = map[string]taxonomypb.Audience{
	"PARTICULIER": taxonomypb.Audience_PARTICULIER,
	"EXPLOITANT":  taxonomypb.Audience_EXPLOITANT,
	"EMPLOYEUR":   taxonomypb.Audience_EMPLOYEUR,
}

// depthNames are the depths by their names in files.
var depthNames = map[string]taxonomypb.Depth{
	"THEME": taxonomypb.Depth_THEME, "TOPIC": taxonomypb.Depth_TOPIC, "REASON": taxonomypb.Depth_REASON,
}

// slug is the form of a code: codes are part of URLs, events and statistics.
var slug = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

const (
	maxCode  = 64
	maxLabel = 200
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

// parse reads a file and checks it whole. Its error has a line for each fault:
// name:line: reason.
func parse(name string, content []byte) (*file, error) {
	if !utf8.Valid(content) {
		return nil, fmt.Errorf("%s:1: the file is not text in UTF-8", name)
	}
	var f file
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	err := decoder.Decode(&f)
	var list *yaml.TypeError
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s:1: the file is empty", name)
	case err != nil && !errors.As(err, &list):
		return nil, syntaxFaults(name, err)
	}
	// With keys or values that do not fit, the rest has been read and is checked too.
	lint := linter{name: name, file: &f}
	if err != nil {
		lint.faults = append(lint.faults, syntaxFaults(name, err))
	}
	var more yaml.Node
	if err := decoder.Decode(&more); err == nil {
		lint.fault(more.Line, "a second document begins here; a taxonomy is one")
	} else if !errors.Is(err, io.EOF) {
		lint.faults = append(lint.faults, syntaxFaults(name, err))
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, syntaxFaults(name, err)
	}
	lint.locate(&document)
	lint.check()
	return &f, errors.Join(lint.faults...)
}

// read takes a version that was checked when it was published. It is not checked
// again: rules may have been tightened since, and while a newer binary is rolled
// out it may hold keys that this one does not know. It stops only at what could
// not be served.
func read(content []byte) (*file, error) {
	var f file
	if err := yaml.Unmarshal(content, &f); err != nil {
		return nil, err
	}
	for _, a := range f.Audiences {
		if audienceNames[a.Code.word] == 0 || depthNames[a.Depth.word] == 0 {
			return nil, fmt.Errorf("line %d: audience %q with depth %q: a newer binary is needed", a.Code.line, a.Code.word, a.Depth.word)
		}
	}
	return &f, nil
}

var syntaxLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

// syntaxFaults rewrites the decoder's own messages to the form of the others.
func syntaxFaults(name string, err error) error {
	texts := []string{err.Error()}
	var list *yaml.TypeError
	if errors.As(err, &list) {
		texts = list.Errors
	}
	var faults []error
	for _, text := range texts {
		if parts := syntaxLine.FindStringSubmatch(text); parts != nil {
			reason, _, _ := strings.Cut(parts[2], " in type ")
			faults = append(faults, fmt.Errorf("%s:%s: %s", name, parts[1], reason))
			continue
		}
		faults = append(faults, fmt.Errorf("%s: %s", name, text))
	}
	return errors.Join(faults...)
}
