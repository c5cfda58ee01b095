package taxonomyfile

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ma-messagerie/messagerie/chassis/plain"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/taxonomy/internal/words"
)

// linter checks what the entries of a file mean.
type linter struct {
	*report
	file *File

	queues   map[string]bool
	services map[string][]string // audiences by code
	depths   map[string]taxonomypb.Depth

	root *yaml.Node // the mapping at the top
}

// locate gives entries that lack their code a place, which the decoder does not provide, and
// reports list entries without content, which it drops.
func (l *linter) locate(document *yaml.Node) {
	l.hollow(document)
	l.twice(document)
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
			l.fault(Place{child.Line, child.Column}, entryEmpty, "take the dash or the comma out, or write the entry", "an entry of a list is empty")
		}
		l.hollow(child)
	}
}

// twice reports keys that a mapping has more than once.
func (l *linter) twice(n *yaml.Node) {
	seen := make(map[string]bool)
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && child.Kind == yaml.ScalarNode {
			if seen[child.Value] {
				l.fault(Place{child.Line, child.Column}, keyDuplicate, "keep one of the two", "the key %q is here for the second time", child.Value)
			}
			seen[child.Value] = true
		}
		l.twice(child)
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

// placeOf is where the value of a key of the top stands; without it, the beginning.
func (l *linter) placeOf(key string) Place {
	if v := value(l.root, key); v != nil {
		return Place{v.Line, v.Column}
	}
	return Place{1, 1}
}

func (l *linter) check() {
	l.number("version", l.file.Version, l.placeOf("version"), 1, maxVersion)
	limits := l.file.TextLimits
	l.number("the least characters of a text", limits.Min, l.placeOf("text_limits"), minText, maxText)
	l.number("the most characters of a text", limits.Max, l.placeOf("text_limits"), minText, maxText)
	if limits.Min.isWhole() && limits.Max.isWhole() && limits.Min.Value > limits.Max.Value {
		l.fault(limits.Max.Place, numberOutOfRange, "write the smaller one as min", "text_limits %d to %d: no text has as many", limits.Min.Value, limits.Max.Value)
	}
	l.checkAudiences()
	l.checkQueues()
	l.checkServices()
	l.checkThemes()
	l.checkSynonyms()
}

const audiencesHint = "there are PARTICULIER, EXPLOITANT, EMPLOYEUR"

func (l *linter) checkAudiences() {
	l.depths = make(map[string]taxonomypb.Depth)
	for _, a := range l.file.Audiences {
		if AudienceOf[a.Code.Word] == 0 {
			l.fault(a.Code.Place, audienceUnknown, audiencesHint, "unknown audience %q", a.Code)
			continue
		}
		if l.depths[a.Code.Word] != 0 {
			l.fault(a.Code.Place, audienceDuplicate, "keep one of the two", "audience %s appears twice", a.Code)
		}
		depth := DepthOf[a.Depth.Word]
		if depth == 0 {
			l.fault(eitherPlace(a.Depth, a.Code), depthUnknown, "write how far the audience chooses: THEME, TOPIC or REASON", "depth %q of audience %s is none", a.Depth, a.Code)
		}
		l.depths[a.Code.Word] = max(depth, taxonomypb.Depth_THEME)
		if a.DocumentDepositURL.Word != "" {
			l.checkURL(a.DocumentDepositURL)
		}
	}
	if len(l.depths) == 0 {
		l.fault(l.placeOf("audiences"), audienceMissing, audiencesHint, "no audience")
	}
}

func eitherPlace(a, b Mark) Place {
	if a.Line != 0 {
		return a.Place
	}
	return b.Place
}

func (l *linter) checkQueues() {
	l.queues = make(map[string]bool)
	labels := make(labels)
	for _, q := range l.file.Queues {
		l.checkCode("queue", q.Code, l.queues)
		l.checkText("the label of queue "+q.Code.Word, q.Label, q.Code, maxLabel)
		l.distinct("queue", q.Label, l.everybody(), labels)
		l.checkContact(&q)
		l.number("answer_days of queue "+q.Code.Word, q.AnswerDays, q.Code.Place, 1, maxAnswerDays)
	}
}

func (l *linter) checkServices() {
	l.services = make(map[string][]string)
	seen := make(map[string]bool)
	labels := make(labels)
	for _, s := range l.file.Services {
		l.checkCode("service", s.Code, seen)
		l.checkText("the name of service "+s.Code.Word, s.Name, s.Code, maxLabel)
		if s.URL.Word == "" {
			l.fault(eitherPlace(s.URL, s.Code), urlInvalid, "write where the service is, as url: https://www.exemple.fr/payer", "service %s has no address", s.Code)
		} else {
			l.checkURL(s.URL)
		}
		l.checkKeywords("service "+s.Code.Word, s.Keywords)
		open := l.audiences("service "+s.Code.Word, s.Code, s.Audiences, l.everybody())
		l.services[s.Code.Word] = open
		if s.Audiences == nil {
			l.fault(s.Code.Place, audienceMissing, "write for whom the service is, as audiences: [PARTICULIER]", "service %s is open to no audience", s.Code)
			continue
		}
		l.distinct("service", s.Name, open, labels)
	}
}

func (l *linter) everybody() []string {
	var all []string
	for _, a := range l.file.Audiences {
		all = append(all, a.Code.Word)
	}
	return all
}

// choosing are those of the audiences that choose as deep.
func (l *linter) choosing(audiences []string, depth taxonomypb.Depth) []string {
	return slices.DeleteFunc(slices.Clone(audiences), func(a string) bool { return l.depths[a] < depth })
}

func (l *linter) checkThemes() {
	seen := make(map[string]bool)
	reached := make(map[string]bool)
	labels := make(labels)
	for i := range l.file.Themes {
		theme := &l.file.Themes[i]
		open := l.checkNode("theme", &theme.Node, seen, l.everybody())
		for _, a := range open {
			reached[a] = true
		}
		l.distinct("theme", theme.Label, open, labels)
		switch {
		case theme.Queue.Word == "":
			l.fault(eitherPlace(theme.Queue, theme.Code), queueMissing, "write which of the queues answers, as queue: its code", "theme %s has no queue", theme.Code)
		case !l.queues[theme.Queue.Word]:
			l.fault(theme.Queue.Place, queueUnknown, "write the code of one of the queues", "theme %s: unknown queue %q", theme.Code, theme.Queue)
		}
		l.checkTopics(theme, open)
	}
	for _, a := range l.file.Audiences {
		if !reached[a.Code.Word] {
			l.fault(a.Code.Place, choiceMissing, "open a theme to it, or take the audience out", "audience %s has no theme", a.Code)
		}
	}
}

func (l *linter) checkTopics(theme *Theme, open []string) {
	seen := make(map[string]bool)
	reached := make(map[string]bool)
	otherwise := make(map[string]bool)
	labels := make(labels)
	for i := range theme.Topics {
		topic := &theme.Topics[i]
		inTopic := l.checkNode("topic", &topic.Node, seen, open)
		for _, a := range inTopic {
			reached[a] = true
			otherwise[a] = otherwise[a] || topic.Code.Word == Other
		}
		l.distinct("topic", topic.Label, l.choosing(inTopic, taxonomypb.Depth_TOPIC), labels)
		l.checkReasons(topic, inTopic)
	}
	for _, a := range open {
		switch {
		case l.depths[a] >= taxonomypb.Depth_TOPIC && !reached[a]:
			l.fault(theme.Code.Place, choiceMissing, "write one, or close the theme to this audience", "theme %s has no topic for %s, who must choose one", theme.Code, a)
		case l.depths[a] == taxonomypb.Depth_TOPIC && !otherwise[a]:
			l.fault(theme.Code.Place, otherMissing, "add one, such as {code: autre, label: Autre}", "theme %s has no topic with the code %s for %s, whose topic may be none of the others", theme.Code, Other, a)
		}
	}
}

func (l *linter) checkReasons(topic *Topic, open []string) {
	reasons := make(map[string]bool)
	covered := make(map[string]bool)
	otherwise := make(map[string]bool)
	labels := make(labels)
	for i := range topic.Reasons {
		reason := &topic.Reasons[i]
		inReason := l.checkNode("reason", &reason.Node, reasons, open)
		for _, a := range inReason {
			covered[a] = true
			otherwise[a] = otherwise[a] || reason.Code.Word == Other
		}
		l.distinct("reason", reason.Label, l.choosing(inReason, taxonomypb.Depth_REASON), labels)
	}
	for _, a := range open {
		switch {
		case l.depths[a] < taxonomypb.Depth_REASON:
		case !covered[a]:
			l.fault(topic.Code.Place, choiceMissing, "write one, or close the topic to this audience", "topic %s has no reason for %s, who must choose one", topic.Code, a)
		case !otherwise[a]:
			l.fault(topic.Code.Place, otherMissing, "add one, such as {code: autre, label: Autre}", "topic %s has no reason with the code %s for %s, whose reason may be none of the others", topic.Code, Other, a)
		}
	}
}

// checkNode checks one level and returns the audiences it is open to.
func (l *linter) checkNode(kind string, n *Node, seen map[string]bool, above []string) []string {
	l.checkCode(kind, n.Code, seen)
	l.checkText("the label of "+kind+" "+n.Code.Word, n.Label, n.Code, maxLabel)
	if n.Help.Line != 0 {
		l.checkText("the help of "+kind+" "+n.Code.Word, n.Help, n.Code, maxHelp)
	}
	l.checkKeywords(kind+" "+n.Code.Word, n.Keywords)
	if n.Retention != nil {
		l.number(fmt.Sprintf("retention of %s %s, in years,", kind, n.Code), *n.Retention, n.Code.Place, 1, maxRetention)
	}
	open := l.audiences(kind+" "+n.Code.Word, n.Code, n.Audiences, above)
	if n.Services == nil {
		return open
	}
	for _, s := range *n.Services {
		allowed, ok := l.services[s.Word]
		if !ok {
			l.fault(s.Place, serviceUnknown, "write the code of one of the services", "%s %s: unknown service %q", kind, n.Code, s)
		} else if !slices.ContainsFunc(open, func(a string) bool { return slices.Contains(allowed, a) }) {
			l.fault(s.Place, serviceOutside, "open the service to them, or take it out here", "%s %s: service %s is open to none of its audiences", kind, n.Code, s)
		}
	}
	return open
}

// audiences returns those of a node; without a list, those of the level above.
func (l *linter) audiences(what string, at Mark, list []Mark, above []string) []string {
	if list == nil {
		return above
	}
	var open []string
	for _, a := range list {
		switch {
		case AudienceOf[a.Word] == 0:
			l.fault(a.Place, audienceUnknown, audiencesHint, "%s: unknown audience %q", what, a)
		case !slices.Contains(above, a.Word):
			l.fault(a.Place, audienceOutside, "open the level above to it, or take it out here", "%s is for %s, the level above is not", what, a)
		case slices.Contains(open, a.Word):
			l.fault(a.Place, audienceDuplicate, "keep one of the two", "%s: audience %s appears twice", what, a)
		default:
			open = append(open, a.Word)
		}
	}
	if len(open) == 0 {
		l.fault(at.Place, audienceMissing, "name one, or take the key audiences out", "%s is open to no audience", what)
	}
	return open
}

func (l *linter) checkCode(kind string, code Mark, seen map[string]bool) {
	switch {
	case code.Word == "":
		l.fault(code.Place, codeMissing, "give it one, such as code: carte-vitale", "a %s has no code", kind)
	case len(code.Word) > maxCode || !slug.MatchString(code.Word):
		l.fault(code.Place, codeInvalid, fmt.Sprintf("write lower-case words without accents, joined by hyphens, at most %d characters", maxCode), "%s code %q is not of that form", kind, code)
	case seen[code.Word]:
		l.fault(code.Place, codeDuplicate, "give one of the two another code", "%s %s appears twice", kind, code)
	}
	seen[code.Word] = true
}

func (l *linter) checkSynonyms() {
	if n := len(l.file.Synonyms); n > maxSynonymous {
		l.fault(l.placeOf("synonyms"), listLength, "leave some out", "%d lists of synonyms, at most %d are searched", n, maxSynonymous)
	}
	lists := value(l.root, "synonyms")
	for i, list := range l.file.Synonyms {
		at := l.placeOf("synonyms")
		if lists != nil && lists.Kind == yaml.SequenceNode && len(lists.Content) == len(l.file.Synonyms) {
			at = Place{lists.Content[i].Line, lists.Content[i].Column}
		}
		hint := fmt.Sprintf("write %d to %d words that mean the same", 2, maxSynonyms)
		if len(list) == 0 {
			l.fault(at, listLength, hint, "list %d of synonyms is empty", i+1)
			continue
		}
		if len(list) < 2 || len(list) > maxSynonyms {
			l.fault(at, listLength, hint, "a list of synonyms has %d, it needs 2 to %d", len(list), maxSynonyms)
		}
		l.checkWords("a list of synonyms", list)
	}
}

func (l *linter) checkKeywords(what string, list []Mark) {
	if len(list) > maxKeywords {
		l.fault(list[0].Place, listLength, "leave some out", "%s has %d keywords, at most %d are searched", what, len(list), maxKeywords)
	}
	l.checkWords(what, list)
}

// checkWords checks a list of what is searched. Two that differ by case and accents alone are
// the same.
func (l *linter) checkWords(what string, list []Mark) {
	const hint = "write a word or several that people use, at most %d characters"
	seen := make(map[string]bool)
	for _, m := range list {
		folded := strings.Join(words.Split(m.Word), " ")
		switch n := len([]rune(m.Word)); {
		case !plain.Is(m.Word):
			l.fault(m.Place, keywordInvalid, "take it out", "%s: %q has a control character", what, m)
		case folded == "":
			l.fault(m.Place, keywordInvalid, fmt.Sprintf(hint, maxKeyword), "%s: %q has no word", what, m)
		case n > maxKeyword:
			l.fault(m.Place, keywordInvalid, fmt.Sprintf(hint, maxKeyword), "%s: %q has %d characters, at most %d are searched", what, m, n, maxKeyword)
		case seen[folded]:
			l.fault(m.Place, keywordDuplicate, "keep one of the two: case, accents and plurals make no difference", "%s: %q appears twice", what, m)
		}
		seen[folded] = true
	}
}
