package provider

import (
	"testing"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
)

func TestMain(m *testing.M) { notifiertest.Main(m) }
