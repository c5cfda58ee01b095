package taxonomy

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// Selection is what a member chose, with its labels and its queue.
type Selection struct {
	Version              int32
	Theme, Topic, Reason *messagingpb.Choice
	Queue                *taxonomypb.Queue
	// Years is how long the conversation is kept after its end, by the innermost level that
	// says so; nil: as long as the setting says.
	Years *int16
}

// ErrOutdated is what the refusal of an older version is compared with.
var ErrOutdated = rpc.Invalid("taxonomyVersion", errorpb.ErrorReason_TAXONOMY_VERSION_OUTDATED, "the version has been replaced")

func checkVersion(given, current int32) error {
	numbers := []string{"given", strconv.Itoa(int(given)), "current", strconv.Itoa(int(current))}
	switch {
	case given < current:
		return rpc.Invalid("taxonomyVersion", ErrOutdated.Reason,
			fmt.Sprintf("version %d has been replaced by version %d: read the taxonomy again and let the member choose", given, current), numbers...)
	case given > current:
		return rpc.Invalid("taxonomyVersion", errorpb.ErrorReason_TAXONOMY_VERSION_UNKNOWN,
			fmt.Sprintf("version %d does not exist; the current one is %d", given, current), numbers...)
	}
	return nil
}

// Choose returns a selection if the tree of its audience has it, as deep as that audience
// must choose.
func Choose(tax *taxonomypb.Catalogue, req *messagingpb.SubmitMessageRequest) (*Selection, error) {
	tree := treeOf(tax, req.GetAudience())
	chosen := &Selection{Version: tax.GetVersion()}
	theme := findTheme(tree, req.GetTheme())
	if theme == nil {
		return nil, notThere(tax, req, "theme", req.GetTheme())
	}
	chosen.Theme = &messagingpb.Choice{Code: theme.GetTheme().GetCode(), Label: theme.GetTheme().GetLabel()}
	chosen.Queue = Queue(tax, theme.GetQueue())
	if chosen.Queue == nil {
		return nil, fmt.Errorf("theme %s of taxonomy %d names an unknown queue %q", req.GetTheme(), tax.GetVersion(), theme.GetQueue())
	}
	topic := findTopic(theme, req.GetTopic())
	switch {
	case topic != nil:
		chosen.Topic = &messagingpb.Choice{Code: topic.GetCode(), Label: topic.GetLabel()}
	case req.GetTopic() != "":
		return nil, notThere(tax, req, "topic", req.GetTopic())
	case tree.GetDepth() >= taxonomypb.Depth_TOPIC || req.GetReason() != "":
		return nil, rpc.Invalid("topic", errorpb.ErrorReason_TOPIC_REQUIRED, "this audience chooses a topic before writing")
	}
	reason := findReason(topic, req.GetReason())
	switch {
	case reason != nil:
		chosen.Reason = &messagingpb.Choice{Code: reason.GetCode(), Label: reason.GetLabel()}
	case req.GetReason() != "":
		return nil, notThere(tax, req, "reason", req.GetReason())
	case tree.GetDepth() >= taxonomypb.Depth_REASON:
		return nil, rpc.Invalid("reason", errorpb.ErrorReason_REASON_REQUIRED, "this audience chooses a reason before writing")
	}
	chosen.Years = yearsOf(theme, req.GetTopic(), req.GetReason())
	return chosen, nil
}

// yearsOf is how long conversations of a selection are kept; nil where no level says so.
func yearsOf(theme *taxonomypb.CatalogueTheme, topic, reason string) *int16 {
	var years *int16
	depth := -1
	for _, kept := range theme.GetRetentions() {
		at := 0
		switch {
		case kept.GetReason() != "":
			at = 2
		case kept.GetTopic() != "":
			at = 1
		}
		if at > 0 && kept.GetTopic() != topic || at > 1 && kept.GetReason() != reason || at <= depth {
			continue
		}
		depth = at
		n := int16(kept.GetYears()) //nolint:gosec // 1 to 30, checked by the taxonomy
		years = &n
	}
	return years
}

// Locate finds the theme of a selection, its queue, and as much of its topic and reason as
// the audience has.
func Locate(tax *taxonomypb.Catalogue, req *messagingpb.SubmitMessageRequest) (*Selection, error) {
	theme := findTheme(treeOf(tax, req.GetAudience()), req.GetTheme())
	if theme == nil {
		return nil, notThere(tax, req, "theme", req.GetTheme())
	}
	topic := findTopic(theme, req.GetTopic())
	reason := findReason(topic, req.GetReason())
	return &Selection{
		Version: tax.GetVersion(), Queue: Queue(tax, theme.GetQueue()),
		Theme:  &messagingpb.Choice{Code: theme.GetTheme().GetCode(), Label: theme.GetTheme().GetLabel()},
		Topic:  &messagingpb.Choice{Code: topic.GetCode(), Label: topic.GetLabel()},
		Reason: &messagingpb.Choice{Code: reason.GetCode(), Label: reason.GetLabel()},
	}, nil
}

// CheckTheme returns what is wrong with a theme that no audience has.
func CheckTheme(tax *taxonomypb.Catalogue, theme string) error {
	if slices.ContainsFunc(tax.GetAudiences(), func(tree *taxonomypb.AudienceCatalogue) bool { return findTheme(tree, theme) != nil }) {
		return nil
	}
	return notThere(tax, &messagingpb.SubmitMessageRequest{Theme: theme}, "theme", theme)
}

// notThere distinguishes a code that nobody has from one that only others may choose.
func notThere(tax *taxonomypb.Catalogue, req *messagingpb.SubmitMessageRequest, field, code string) error {
	nowhere, notHere := errorpb.ErrorReason_THEME_UNKNOWN, errorpb.ErrorReason_THEME_NOT_FOR_AUDIENCE
	switch field {
	case "topic":
		nowhere, notHere = errorpb.ErrorReason_TOPIC_UNKNOWN, errorpb.ErrorReason_TOPIC_NOT_FOR_AUDIENCE
	case "reason":
		nowhere, notHere = errorpb.ErrorReason_REASON_UNKNOWN, errorpb.ErrorReason_REASON_NOT_FOR_AUDIENCE
	}
	for _, other := range tax.GetAudiences() {
		theme := findTheme(other, req.GetTheme())
		topic := findTopic(theme, req.GetTopic())
		reason := findReason(topic, req.GetReason())
		if other.GetAudience() == req.GetAudience() {
			continue
		}
		if field == "theme" && theme != nil || field == "topic" && topic != nil || field == "reason" && reason != nil {
			return rpc.Invalid(field, notHere,
				fmt.Sprintf("%s %q is not open to %s", field, code, req.GetAudience()), "audience", req.GetAudience().String())
		}
	}
	return rpc.Invalid(field, nowhere, fmt.Sprintf("version %d has no %s %q here", tax.GetVersion(), field, code))
}

func treeOf(tax *taxonomypb.Catalogue, audience taxonomypb.Audience) *taxonomypb.AudienceCatalogue {
	for _, tree := range tax.GetAudiences() {
		if tree.GetAudience() == audience {
			return tree
		}
	}
	return nil
}

func findTheme(tree *taxonomypb.AudienceCatalogue, code string) *taxonomypb.CatalogueTheme {
	for _, theme := range tree.GetThemes() {
		if theme.GetTheme().GetCode() == code {
			return theme
		}
	}
	return nil
}

func findTopic(theme *taxonomypb.CatalogueTheme, code string) *taxonomypb.Topic {
	for _, topic := range theme.GetTheme().GetTopics() {
		if topic.GetCode() == code {
			return topic
		}
	}
	return nil
}

func findReason(topic *taxonomypb.Topic, code string) *taxonomypb.Reason {
	for _, reason := range topic.GetReasons() {
		if reason.GetCode() == code {
			return reason
		}
	}
	return nil
}

// Queue returns the queue with a code, or nil.
func Queue(tax *taxonomypb.Catalogue, code string) *taxonomypb.Queue {
	for _, queue := range tax.GetQueues() {
		if queue.GetCode() == code {
			return queue
		}
	}
	return nil
}

// UnknownQueue is the refusal of a queue that a version does not have.
func UnknownQueue(tax *taxonomypb.Catalogue, code string) error {
	return rpc.Invalid("queue", errorpb.ErrorReason_QUEUE_UNKNOWN, fmt.Sprintf("version %d has no queue %q", tax.GetVersion(), code))
}

// CheckQueue refuses a queue that the current version does not have; none is none to refuse.
func (c *Versions) CheckQueue(ctx context.Context, queue string) error {
	if queue == "" {
		return nil
	}
	version, err := c.Current(ctx)
	if err == nil && Queue(version, queue) == nil {
		err = UnknownQueue(version, queue)
	}
	return err
}
