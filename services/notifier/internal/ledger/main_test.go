package ledger

import "github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"

type row = notifiertest.Row[State]

var look = notifiertest.Look[State, Channel]
