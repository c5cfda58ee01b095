package agent

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// A refusal passes as a header of HTTP/2: what is new is told as far as one can hold it, the last
// of it first.
func TestUnread(t *testing.T) {
	t.Parallel()
	short, long := "Bonjour.", strings.Repeat("é", unreadBytes/2)
	for name, row := range map[string]struct {
		texts []string // of the messages since
		// told are how many of the last are told of, and with how many texts.
		told, texted int
		incomplete   bool
	}{
		"none":                    {nil, 0, 0, false},
		"one":                     {[]string{short}, 1, 1, false},
		"one that just fits":      {[]string{long}, 1, 1, false},
		"one that does not":       {[]string{long + "é"}, 1, 0, true},
		"a short one behind it":   {[]string{long, short}, 2, 1, true},
		"as many as there may be": {strings.Split(strings.Repeat(short+"|", mostUnread-1)+short, "|"), mostUnread, mostUnread, false},
		"one more":                {strings.Split(strings.Repeat(short+"|", mostUnread)+short, "|"), mostUnread, mostUnread, true},
	} {
		read := &messagingpb.Message{Id: uuid.NewString(), Text: "lu"}
		messages := []*messagingpb.Message{{Id: uuid.NewString(), Text: "avant"}, read}
		for _, text := range row.texts {
			messages = append(messages, &messagingpb.Message{Id: uuid.NewString(), Text: text})
		}
		got := unread(messages, uuid.MustParse(read.GetId()))
		texted := 0
		for _, message := range got.GetMessages() {
			if message.GetText() != "" {
				texted++
			}
		}
		if len(got.GetMessages()) != row.told || texted != row.texted || got.GetIncomplete() != row.incomplete || got.GetLastMessageId() != messages[len(messages)-1].GetId() {
			t.Errorf("%s: %d messages, %d texts, %t", name, len(got.GetMessages()), texted, got.GetIncomplete())
		}
	}
	// Of a message that is none of theirs, all is new.
	if got := unread([]*messagingpb.Message{{Id: uuid.NewString(), Text: short}}, uuid.New()); len(got.GetMessages()) != 1 {
		t.Errorf("%v", got)
	}
}
