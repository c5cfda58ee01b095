package taxonomy

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// shelf has a tree for each audience but one.
type shelf struct {
	taxonomypb.TaxonomyServiceClient
}

func (shelf) GetTaxonomy(_ context.Context, req *taxonomypb.GetTaxonomyRequest, _ ...grpc.CallOption) (*taxonomypb.GetTaxonomyResponse, error) {
	tree := &taxonomypb.GetTaxonomyResponse{Depth: taxonomypb.Depth_REASON, Themes: []*taxonomypb.Theme{
		{Code: "a", Label: "A", Topics: []*taxonomypb.Topic{{Code: "x", Label: "X", Reasons: []*taxonomypb.Reason{{Code: "1", Label: "Un"}}}, {Code: "y", Label: "Y"}}},
		{Code: "b", Label: "B", Topics: []*taxonomypb.Topic{{Code: "x", Label: "Autre"}}},
	}}
	switch req.GetAudience() {
	case taxonomypb.Audience_EXPLOITANT:
		tree.Depth = taxonomypb.Depth_TOPIC
		tree.Themes = append(tree.GetThemes(), &taxonomypb.Theme{Code: "c", Label: "C"})
	case taxonomypb.Audience_EMPLOYEUR:
		return nil, status.Error(codes.Unavailable, "")
	case taxonomypb.Audience_PARTICULIER, taxonomypb.Audience_AUDIENCE_UNSPECIFIED:
	}
	return tree, nil
}

func listed(options []writing.Option) string {
	var list []string
	for _, option := range options {
		list = append(list, option.Code+"="+option.Label)
	}
	return strings.Join(list, ", ")
}

func TestTrees_Choices(t *testing.T) {
	t.Parallel()
	trees := NewTrees(shelf{})
	for what, row := range map[string]struct {
		got  []writing.Option
		want string
	}{
		"themes":              {trees.Themes(t.Context()), "a=A, b=B, c=C"},
		"reasons":             {trees.Reasons(t.Context(), "a"), "x=X, x/1=X › Un, y=Y"},
		"another's":           {trees.Reasons(t.Context(), "b"), "x=Autre"},
		"of no theme":         {trees.Reasons(t.Context(), "z"), ""},
		"selections":          {trees.Selections(t.Context(), taxonomypb.Audience_PARTICULIER), "a/x/1=A › X › Un"},
		"at a lesser depth":   {trees.Selections(t.Context(), taxonomypb.Audience_EXPLOITANT), "a/x=A › X, a/x/1=A › X › Un, a/y=A › Y, b/x=B › Autre"},
		"without the service": {trees.Selections(t.Context(), taxonomypb.Audience_EMPLOYEUR), ""},
	} {
		if got := listed(row.got); got != row.want {
			t.Errorf("%s: %s, want %s", what, got, row.want)
		}
	}
}
