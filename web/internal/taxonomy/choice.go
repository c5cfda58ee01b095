package taxonomy

import (
	"context"
	"slices"
	"strings"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

var audiences = []taxonomypb.Audience{taxonomypb.Audience_PARTICULIER, taxonomypb.Audience_EXPLOITANT, taxonomypb.Audience_EMPLOYEUR}

// Selections are all selections of an audience, each as one option whose code is theirs,
// joined by "/"; none while the taxonomy is away.
func (t *Trees) Selections(ctx context.Context, audience taxonomypb.Audience) []writing.Option {
	tree, err := t.Tree(ctx, audience)
	if err != nil {
		return nil
	}
	var list []writing.Option
	add := func(label string, codes ...string) {
		list = append(list, writing.Option{Code: strings.Join(codes, "/"), Label: label})
	}
	for _, theme := range tree.GetThemes() {
		if tree.GetDepth() <= taxonomypb.Depth_THEME {
			add(theme.GetLabel(), theme.GetCode())
		}
		for _, topic := range theme.GetTopics() {
			if tree.GetDepth() <= taxonomypb.Depth_TOPIC {
				add(theme.GetLabel()+" › "+topic.GetLabel(), theme.GetCode(), topic.GetCode())
			}
			for _, reason := range topic.GetReasons() {
				add(theme.GetLabel()+" › "+topic.GetLabel()+" › "+reason.GetLabel(), theme.GetCode(), topic.GetCode(), reason.GetCode())
			}
		}
	}
	return list
}

// Themes are those of all audiences, each once; none while the taxonomy is away.
func (t *Trees) Themes(ctx context.Context) []writing.Option {
	return t.each(ctx, func(theme *taxonomypb.Theme, add func(writing.Option)) {
		add(writing.Option{Code: theme.GetCode(), Label: theme.GetLabel()})
	})
}

// Reasons are the topics of a theme and their reasons, of all audiences, each once. Codes are
// "topic" and "topic/reason".
func (t *Trees) Reasons(ctx context.Context, code string) []writing.Option {
	return t.each(ctx, func(theme *taxonomypb.Theme, add func(writing.Option)) {
		if theme.GetCode() != code {
			return
		}
		for _, topic := range theme.GetTopics() {
			add(writing.Option{Code: topic.GetCode(), Label: topic.GetLabel()})
			for _, reason := range topic.GetReasons() {
				add(writing.Option{Code: topic.GetCode() + "/" + reason.GetCode(), Label: topic.GetLabel() + " › " + reason.GetLabel()})
			}
		}
	})
}

// each collects options over the themes of all audiences, each code once.
func (t *Trees) each(ctx context.Context, visit func(*taxonomypb.Theme, func(writing.Option))) []writing.Option {
	var list []writing.Option
	add := func(option writing.Option) {
		if !slices.ContainsFunc(list, func(o writing.Option) bool { return o.Code == option.Code }) {
			list = append(list, option)
		}
	}
	for _, audience := range audiences {
		tree, err := t.Tree(ctx, audience)
		if err != nil {
			continue
		}
		for _, theme := range tree.GetThemes() {
			visit(theme, add)
		}
	}
	return list
}
