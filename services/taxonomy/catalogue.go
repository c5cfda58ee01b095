package taxonomy

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/taxonomy/taxonomyfile"
)

// catalogue is one version, ready to be served. It never changes.
type catalogue struct {
	// whole is what this system's own processes get.
	whole *taxonomypb.Catalogue
	// answers are those of GetTaxonomy, made once.
	answers map[taxonomypb.Audience]*taxonomypb.GetTaxonomyResponse
	// offers are the services of each place of the tree that an audience can
	// reach, with the empty string for a level that was not chosen.
	offers map[place][]*taxonomypb.OnlineService
	// services are all of them, by code.
	services map[string]*taxonomypb.OnlineService
	// finder is what can be searched.
	finder *finder
}

// place is a selection.
type place struct {
	audience             taxonomypb.Audience
	theme, topic, reason string
}

// newCatalogue makes the served form of a file that was checked, now or when it
// was published.
func newCatalogue(f *taxonomyfile.File, published time.Time) *catalogue {
	c := &catalogue{
		whole: &taxonomypb.Catalogue{
			Version: f.Version.Value, PublishTime: timestamppb.New(published),
			TextLimits: &taxonomypb.TextLimits{Min: f.TextLimits.Min.Value, Max: f.TextLimits.Max.Value},
		},
		answers:  make(map[taxonomypb.Audience]*taxonomypb.GetTaxonomyResponse),
		offers:   make(map[place][]*taxonomypb.OnlineService),
		services: make(map[string]*taxonomypb.OnlineService),
	}
	for _, q := range f.Queues {
		c.whole.Queues = append(c.whole.Queues, &taxonomypb.Queue{
			Code: q.Code.Word, Label: q.Label.Word, PostalAddress: q.PostalAddress.Word, Phone: q.Phone.Word, Email: q.Email.Word, AnswerDays: q.AnswerDays.Value,
		})
	}
	for _, s := range f.Services {
		c.services[s.Code.Word] = &taxonomypb.OnlineService{Code: s.Code.Word, Name: s.Name.Word, Url: s.URL.Word, External: s.External}
	}
	for _, a := range f.Audiences {
		b := builder{catalogue: c, audience: taxonomyfile.AudienceOf[a.Code.Word], name: a.Code.Word, open: make(map[string]bool)}
		b.add(f, &a)
	}
	c.finder = newFinder(f, c.services)
	return c
}

// builder makes the tree of one audience.
type builder struct {
	*catalogue
	audience taxonomypb.Audience
	name     string
	// open are the codes of the services that are open to it.
	open map[string]bool
}

func (b *builder) add(f *taxonomyfile.File, a *taxonomyfile.Audience) {
	answer := &taxonomypb.GetTaxonomyResponse{
		Version: b.whole.GetVersion(), Audience: b.audience, Depth: taxonomyfile.DepthOf[a.Depth.Word],
		TextLimits:         b.whole.GetTextLimits(),
		DocumentDepositUrl: a.DocumentDepositURL.Word,
	}
	for _, s := range f.Services {
		if b.named(s.Audiences) {
			b.open[s.Code.Word] = true
		}
	}
	tree := &taxonomypb.AudienceCatalogue{Audience: b.audience, Depth: answer.GetDepth()}
	for i := range f.Themes {
		entry := &f.Themes[i]
		if !b.sees(&entry.Node) {
			continue
		}
		theme := b.theme(entry)
		answer.Themes = append(answer.Themes, theme)
		tree.Themes = append(tree.Themes, &taxonomypb.CatalogueTheme{Theme: theme, Queue: entry.Queue.Word, Retentions: b.retentions(entry)})
	}
	b.answers[b.audience] = answer
	b.whole.Audiences = append(b.whole.Audiences, tree)
}

// retentions are how long a theme's conversations are kept, as far as its file says, for what
// this audience can choose.
func (b *builder) retentions(theme *taxonomyfile.Theme) (list []*taxonomypb.CatalogueRetention) {
	add := func(n *taxonomyfile.Node, topic, reason string) {
		if n.Retention != nil {
			list = append(list, &taxonomypb.CatalogueRetention{Topic: topic, Reason: reason, Years: n.Retention.Value})
		}
	}
	add(&theme.Node, "", "")
	for i := range theme.Topics {
		topic := &theme.Topics[i]
		if !b.sees(&topic.Node) {
			continue
		}
		add(&topic.Node, topic.Code.Word, "")
		for j := range topic.Reasons {
			if reason := &topic.Reasons[j]; b.sees(&reason.Node) {
				add(&reason.Node, topic.Code.Word, reason.Code.Word)
			}
		}
	}
	return list
}

func (b *builder) theme(entry *taxonomyfile.Theme) *taxonomypb.Theme {
	theme := &taxonomypb.Theme{Code: entry.Code.Word, Label: entry.Label.Word, Help: entry.Help.Word}
	offered := b.offer(place{b.audience, theme.GetCode(), "", ""}, &entry.Node, nil)
	for i := range entry.Topics {
		if topic := &entry.Topics[i]; b.sees(&topic.Node) {
			theme.Topics = append(theme.Topics, b.topic(theme.GetCode(), topic, offered))
		}
	}
	return theme
}

func (b *builder) topic(theme string, entry *taxonomyfile.Topic, above []*taxonomypb.OnlineService) *taxonomypb.Topic {
	topic := &taxonomypb.Topic{Code: entry.Code.Word, Label: entry.Label.Word, Help: entry.Help.Word}
	offered := b.offer(place{b.audience, theme, topic.GetCode(), ""}, &entry.Node, above)
	for i := range entry.Reasons {
		reason := &entry.Reasons[i]
		if !b.sees(&reason.Node) {
			continue
		}
		b.offer(place{b.audience, theme, topic.GetCode(), reason.Code.Word}, &reason.Node, offered)
		topic.Reasons = append(topic.Reasons, &taxonomypb.Reason{Code: reason.Code.Word, Label: reason.Label.Word})
	}
	return topic
}

func (b *builder) sees(n *taxonomyfile.Node) bool {
	return n.Audiences == nil || b.named(n.Audiences)
}

func (b *builder) named(audiences []taxonomyfile.Mark) bool {
	return slices.ContainsFunc(audiences, func(a taxonomyfile.Mark) bool { return a.Word == b.name })
}

// offer writes down which services a place proposes: its own, or, without the
// key, those of the level above.
func (b *builder) offer(at place, n *taxonomyfile.Node, above []*taxonomypb.OnlineService) []*taxonomypb.OnlineService {
	offered := above
	if n.Services != nil {
		offered = nil
		for _, code := range *n.Services {
			if b.open[code.Word] {
				offered = append(offered, b.services[code.Word])
			}
		}
	}
	b.offers[at] = offered
	return offered
}

// suggest returns the services for a selection, as deep as it was made.
func (c *catalogue) suggest(at place) ([]*taxonomypb.OnlineService, error) {
	if services, ok := c.offers[at]; ok {
		return services, nil
	}
	if _, ok := c.offers[place{at.audience, at.theme, "", ""}]; !ok {
		return nil, rpc.Invalid("theme", errorpb.ErrorReason_THEME_UNKNOWN, fmt.Sprintf("%s has no theme %q", at.audience, at.theme))
	}
	if at.topic == "" {
		return nil, rpc.Invalid("topic", errorpb.ErrorReason_TOPIC_REQUIRED, "a reason is chosen within a topic")
	}
	if _, ok := c.offers[place{at.audience, at.theme, at.topic, ""}]; !ok {
		return nil, rpc.Invalid("topic", errorpb.ErrorReason_TOPIC_UNKNOWN, fmt.Sprintf("%s has no topic %q in this theme", at.audience, at.topic))
	}
	return nil, rpc.Invalid("reason", errorpb.ErrorReason_REASON_UNKNOWN, fmt.Sprintf("%s has no reason %q in this topic", at.audience, at.reason))
}
