package taxonomy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// file is a taxonomy as written by its editors. catalogue.yaml documents it.
type file struct {
	Version    int             `yaml:"version"`
	TextLimits textLimits      `yaml:"text_limits"`
	Audiences  []audienceEntry `yaml:"audiences"`
	Queues     []queueEntry    `yaml:"queues"`
	Services   []serviceEntry  `yaml:"services"`
	Themes     []themeEntry    `yaml:"themes"`
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
}

// node is what themes, topics and reasons have in common.
type node struct {
	Code  mark   `yaml:"code"`
	Label string `yaml:"label"`
	Help  string `yaml:"help"`
	// Audiences narrow those of the level above; without the key they are the same.
	Audiences []mark `yaml:"audiences"`
	// Services is nil when the key is absent: the level above then decides.
	Services *[]mark `yaml:"services"`
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

// mark is a word with the line it stands on. Only single words are marked, so
// that the decoder still refuses unknown keys around them.
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

// slug is the form of a code: codes stand in URLs, in events and in statistics.
var slug = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

const (
	maxCode  = 64
	maxLabel = 200
	// maxAnswerDays keeps an answer time within what the law of implicit
	// decisions leaves (two months) and within a smallint.
	maxAnswerDays = 60
	// maxText is the most characters the store of messages takes.
	maxText = 750
	minText = 10
	// maxVersion is what an integer column and the wire take.
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

// linter collects the faults of a file.
type linter struct {
	name   string
	file   *file
	faults []error

	queues   map[string]bool
	services map[string][]string // audiences by code
	depths   map[string]taxonomypb.Depth

	root *yaml.Node // the mapping at the top
}

func (l *linter) fault(line int, format string, args ...any) {
	l.faults = append(l.faults, fmt.Errorf("%s:%d: "+format, append([]any{l.name, max(line, 1)}, args...)...))
}

// locate gives entries that lack their code a line, which the decoder does not
// tell, and reports list entries without content, which it drops.
func (l *linter) locate(document *yaml.Node) {
	l.hollow(document)
	l.root = &yaml.Node{}
	if len(document.Content) > 0 {
		l.root = document.Content[0]
	}
	for i, n := range entries(l.root, "audiences", len(l.file.Audiences)) {
		l.file.Audiences[i].Code.begin(n)
	}
	for i, n := range entries(l.root, "queues", len(l.file.Queues)) {
		l.file.Queues[i].Code.begin(n)
	}
	for i, n := range entries(l.root, "services", len(l.file.Services)) {
		l.file.Services[i].Code.begin(n)
	}
	for i, n := range entries(l.root, "themes", len(l.file.Themes)) {
		theme := &l.file.Themes[i]
		theme.Code.begin(n)
		for j, n := range entries(n, "topics", len(theme.Topics)) {
			topic := &theme.Topics[j]
			topic.Code.begin(n)
			for k, n := range entries(n, "reasons", len(topic.Reasons)) {
				topic.Reasons[k].Code.begin(n)
			}
		}
	}
}

// hollow reports the empty entries of all lists.
func (l *linter) hollow(n *yaml.Node) {
	for _, child := range n.Content {
		if n.Kind == yaml.SequenceNode && child.ShortTag() == "!!null" {
			l.fault(child.Line, "an entry of a list is empty")
		}
		l.hollow(child)
	}
}

// value is that of a key of a mapping, nil without the key.
func value(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value != key {
			continue
		}
		if v := mapping.Content[i+1]; v.Kind != yaml.AliasNode {
			return v
		}
		return mapping.Content[i+1].Alias
	}
	return nil
}

// entries are the mappings of a list, in the order in which the decoder took
// them, at most as many.
func entries(mapping *yaml.Node, key string, most int) []*yaml.Node {
	list := value(mapping, key)
	if list == nil || list.Kind != yaml.SequenceNode {
		return nil
	}
	var found []*yaml.Node
	for _, n := range list.Content {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if n.Kind == yaml.MappingNode && len(found) < most {
			found = append(found, n)
		}
	}
	return found
}

// lineOf is where a key of the top stands; without it, the first line.
func (l *linter) lineOf(key string) int {
	if v := value(l.root, key); v != nil {
		return v.Line
	}
	return 1
}

func (l *linter) check() {
	if l.file.Version < 1 || l.file.Version > maxVersion {
		l.fault(l.lineOf("version"), "version must be a number from 1 to %d", maxVersion)
	}
	if limits := l.file.TextLimits; limits.Min < minText || limits.Max > maxText || limits.Min > limits.Max {
		l.fault(l.lineOf("text_limits"), "text_limits %d to %d: the store takes %d to %d characters", limits.Min, limits.Max, minText, maxText)
	}
	l.checkAudiences()
	l.checkQueues()
	l.checkServices()
	l.checkThemes()
}

func (l *linter) checkAudiences() {
	l.depths = make(map[string]taxonomypb.Depth)
	for _, a := range l.file.Audiences {
		if audienceNames[a.Code.word] == 0 {
			l.fault(a.Code.line, "unknown audience %q", a.Code.word)
			continue
		}
		if l.depths[a.Code.word] != 0 {
			l.fault(a.Code.line, "audience %s stands twice", a.Code.word)
		}
		depth := depthNames[a.Depth.word]
		if depth == 0 {
			l.fault(lineOfEither(a.Depth, a.Code), "depth %q of audience %s is none of THEME, TOPIC, REASON", a.Depth.word, a.Code.word)
		}
		l.depths[a.Code.word] = max(depth, taxonomypb.Depth_THEME)
		if a.DocumentDepositURL != "" {
			l.checkURL(a.Code.line, a.DocumentDepositURL)
		}
	}
	if len(l.depths) == 0 {
		l.fault(l.lineOf("audiences"), "no audience")
	}
}

func lineOfEither(a, b mark) int {
	if a.line != 0 {
		return a.line
	}
	return b.line
}

func (l *linter) checkQueues() {
	l.queues = make(map[string]bool)
	for _, q := range l.file.Queues {
		l.checkCode("queue", q.Code, l.queues)
		l.checkLabel("queue", q.Code, q.Label)
		if q.PostalAddress == "" || q.Phone == "" {
			l.fault(q.Code.line, "queue %s needs postal_address and phone: the acknowledgement must name them", q.Code.word)
		}
		if q.AnswerDays < 0 || q.AnswerDays > maxAnswerDays {
			l.fault(q.Code.line, "answer_days %d of queue %s is not within 0 to %d", q.AnswerDays, q.Code.word, maxAnswerDays)
		}
	}
}

func (l *linter) checkServices() {
	l.services = make(map[string][]string)
	seen := make(map[string]bool)
	for _, s := range l.file.Services {
		l.checkCode("service", s.Code, seen)
		l.checkLabel("service", s.Code, s.Name)
		l.checkURL(s.Code.line, s.URL)
		l.services[s.Code.word] = l.audiences("service "+s.Code.word, s.Code, s.Audiences, l.everybody())
		if s.Audiences == nil {
			l.fault(s.Code.line, "service %s is open to no audience", s.Code.word)
		}
	}
}

func (l *linter) everybody() []string {
	var all []string
	for _, a := range l.file.Audiences {
		all = append(all, a.Code.word)
	}
	return all
}

func (l *linter) checkThemes() {
	seen := make(map[string]bool)
	reached := make(map[string]bool)
	for i := range l.file.Themes {
		theme := &l.file.Themes[i]
		open := l.checkNode("theme", &theme.node, seen, l.everybody())
		for _, a := range open {
			reached[a] = true
		}
		if !l.queues[theme.Queue.word] {
			l.fault(lineOfEither(theme.Queue, theme.Code), "theme %s: unknown queue %q", theme.Code.word, theme.Queue.word)
		}
		l.checkTopics(theme, open)
	}
	for _, a := range l.file.Audiences {
		if !reached[a.Code.word] {
			l.fault(a.Code.line, "audience %s has no theme", a.Code.word)
		}
	}
}

func (l *linter) checkTopics(theme *themeEntry, open []string) {
	seen := make(map[string]bool)
	reached := make(map[string]bool)
	for i := range theme.Topics {
		topic := &theme.Topics[i]
		inTopic := l.checkNode("topic", &topic.node, seen, open)
		reasons := make(map[string]bool)
		covered := make(map[string]bool)
		for j := range topic.Reasons {
			for _, a := range l.checkNode("reason", &topic.Reasons[j].node, reasons, inTopic) {
				covered[a] = true
			}
		}
		for _, a := range inTopic {
			reached[a] = true
			if l.depths[a] >= taxonomypb.Depth_REASON && !covered[a] {
				l.fault(topic.Code.line, "topic %s has no reason for %s, who must choose one", topic.Code.word, a)
			}
		}
	}
	for _, a := range open {
		if l.depths[a] >= taxonomypb.Depth_TOPIC && !reached[a] {
			l.fault(theme.Code.line, "theme %s has no topic for %s, who must choose one", theme.Code.word, a)
		}
	}
}

// checkNode checks one level and returns the audiences it is open to.
func (l *linter) checkNode(kind string, n *node, seen map[string]bool, above []string) []string {
	l.checkCode(kind, n.Code, seen)
	l.checkLabel(kind, n.Code, n.Label)
	open := l.audiences(kind+" "+n.Code.word, n.Code, n.Audiences, above)
	if n.Services == nil {
		return open
	}
	for _, s := range *n.Services {
		allowed, ok := l.services[s.word]
		if !ok {
			l.fault(s.line, "%s %s: unknown service %q", kind, n.Code.word, s.word)
		} else if !slices.ContainsFunc(open, func(a string) bool { return slices.Contains(allowed, a) }) {
			l.fault(s.line, "%s %s: service %s is open to none of its audiences", kind, n.Code.word, s.word)
		}
	}
	return open
}

// audiences returns those of a node; without a list, those of the level above.
func (l *linter) audiences(what string, at mark, list []mark, above []string) []string {
	if list == nil {
		return above
	}
	var open []string
	for _, a := range list {
		switch {
		case audienceNames[a.word] == 0:
			l.fault(a.line, "%s: unknown audience %q", what, a.word)
		case !slices.Contains(above, a.word):
			l.fault(a.line, "%s is for %s, the level above is not", what, a.word)
		case slices.Contains(open, a.word):
			l.fault(a.line, "%s: audience %s stands twice", what, a.word)
		default:
			open = append(open, a.word)
		}
	}
	if len(open) == 0 {
		l.fault(at.line, "%s is open to no audience", what)
	}
	return open
}

func (l *linter) checkCode(kind string, code mark, seen map[string]bool) {
	switch {
	case code.word == "":
		l.fault(code.line, "a %s has no code", kind)
	case len(code.word) > maxCode || !slug.MatchString(code.word):
		l.fault(code.line, "%s code %q is not lower-case words joined by hyphens, at most %d characters", kind, code.word, maxCode)
	case seen[code.word]:
		l.fault(code.line, "%s %s stands twice", kind, code.word)
	}
	seen[code.word] = true
}

func (l *linter) checkLabel(kind string, code mark, label string) {
	if strings.TrimSpace(label) == "" {
		l.fault(code.line, "%s %s has no label", kind, code.word)
	}
	if n := len([]rune(label)); n > maxLabel {
		l.fault(code.line, "label of %s %s has %s characters, at most %d are shown", kind, code.word, strconv.Itoa(n), maxLabel)
	}
}

// checkURL refuses what a member's browser should not be sent to.
func (l *linter) checkURL(line int, address string) {
	u, err := url.Parse(address)
	local := err == nil && u.Scheme == "http" && (u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1")
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && !local) {
		l.fault(line, "%q is not an https address", address)
	}
}
