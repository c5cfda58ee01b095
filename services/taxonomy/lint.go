package taxonomy

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/taxonomy/internal/words"
)

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

// locate gives entries that lack their code a line, which the decoder does not provide, and
// reports list entries without content, which it drops.
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
	l.checkSynonyms()
}

func (l *linter) checkAudiences() {
	l.depths = make(map[string]taxonomypb.Depth)
	for _, a := range l.file.Audiences {
		if audienceNames[a.Code.word] == 0 {
			l.fault(a.Code.line, "unknown audience %q", a.Code.word)
			continue
		}
		if l.depths[a.Code.word] != 0 {
			l.fault(a.Code.line, "audience %s appears twice", a.Code.word)
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
		l.checkKeywords("service "+s.Code.word, s.Keywords)
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
	otherwise := make(map[string]bool)
	for i := range theme.Topics {
		topic := &theme.Topics[i]
		inTopic := l.checkNode("topic", &topic.node, seen, open)
		for _, a := range inTopic {
			reached[a] = true
			otherwise[a] = otherwise[a] || topic.Code.word == other
		}
		l.checkReasons(topic, inTopic)
	}
	for _, a := range open {
		switch {
		case l.depths[a] >= taxonomypb.Depth_TOPIC && !reached[a]:
			l.fault(theme.Code.line, "theme %s has no topic for %s, who must choose one", theme.Code.word, a)
		case l.depths[a] == taxonomypb.Depth_TOPIC && !otherwise[a]:
			l.fault(theme.Code.line, "theme %s has no topic with the code %s for %s, whose topic may be none of the others", theme.Code.word, other, a)
		}
	}
}

func (l *linter) checkReasons(topic *topicEntry, open []string) {
	reasons := make(map[string]bool)
	covered := make(map[string]bool)
	otherwise := make(map[string]bool)
	for i := range topic.Reasons {
		reason := &topic.Reasons[i]
		for _, a := range l.checkNode("reason", &reason.node, reasons, open) {
			covered[a] = true
			otherwise[a] = otherwise[a] || reason.Code.word == other
		}
	}
	for _, a := range open {
		switch {
		case l.depths[a] < taxonomypb.Depth_REASON:
		case !covered[a]:
			l.fault(topic.Code.line, "topic %s has no reason for %s, who must choose one", topic.Code.word, a)
		case !otherwise[a]:
			l.fault(topic.Code.line, "topic %s has no reason with the code %s for %s, whose reason may be none of the others", topic.Code.word, other, a)
		}
	}
}

// checkNode checks one level and returns the audiences it is open to.
func (l *linter) checkNode(kind string, n *node, seen map[string]bool, above []string) []string {
	l.checkCode(kind, n.Code, seen)
	l.checkLabel(kind, n.Code, n.Label)
	l.checkKeywords(kind+" "+n.Code.word, n.Keywords)
	if n.Retention != nil && (*n.Retention < 1 || *n.Retention > maxRetention) {
		l.fault(n.Code.line, "retention %d of %s %s is not within 1 to %d years", *n.Retention, kind, n.Code.word, maxRetention)
	}
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
			l.fault(a.line, "%s: audience %s appears twice", what, a.word)
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
		l.fault(code.line, "%s %s appears twice", kind, code.word)
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

func (l *linter) checkSynonyms() {
	if n := len(l.file.Synonyms); n > maxSynonymous {
		l.fault(l.lineOf("synonyms"), "%d lists of synonyms, at most %d are searched", n, maxSynonymous)
	}
	for i, list := range l.file.Synonyms {
		if len(list) == 0 {
			l.fault(l.lineOf("synonyms"), "list %d of synonyms is empty", i+1)
			continue
		}
		if len(list) < 2 || len(list) > maxSynonyms {
			l.fault(list[0].line, "a list of synonyms has %d, it needs 2 to %d", len(list), maxSynonyms)
		}
		l.checkWords("a list of synonyms", list)
	}
}

func (l *linter) checkKeywords(what string, list []mark) {
	if len(list) > maxKeywords {
		l.fault(list[0].line, "%s has %d keywords, at most %d are searched", what, len(list), maxKeywords)
	}
	l.checkWords(what, list)
}

// checkWords checks a list of what is searched. Two that differ by case and accents alone are
// the same.
func (l *linter) checkWords(what string, list []mark) {
	seen := make(map[string]bool)
	for _, m := range list {
		folded := strings.Join(words.Split(m.word), " ")
		switch n := len([]rune(m.word)); {
		case strings.ContainsFunc(m.word, unicode.IsControl):
			l.fault(m.line, "%s: %q has a control character", what, m.word)
		case folded == "":
			l.fault(m.line, "%s: %q has no word", what, m.word)
		case n > maxKeyword:
			l.fault(m.line, "%s: %q has %d characters, at most %d are searched", what, m.word, n, maxKeyword)
		case seen[folded]:
			l.fault(m.line, "%s: %q appears twice", what, m.word)
		}
		seen[folded] = true
	}
}
