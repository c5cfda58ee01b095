package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// rotateKeys is `messagerie keys rotate`.
type rotateKeys struct {
	kms
	RemoveOld bool   `help:"Remove the keys that are not primary, once nothing is wrapped by them."`
	File      string `arg:"" name:"keyset-file" type:"existingfile" help:"The key set, a local file in tink's JSON."`
}

// Run takes the next step of a rotation in the file, and says what comes after it. Nothing that
// it says is secret.
func (c *rotateKeys) Run(s *session) error {
	kek, err := c.open(&http.Client{Transport: cmp.Or(s.kms, http.DefaultTransport)})
	if err != nil {
		return err
	}
	set, err := readKeyset(c.File, kek)
	if err != nil {
		return err
	}
	if kek != nil && !set.encrypted {
		return c.encrypt(s, set)
	}
	newest, primary := set.newest(), set.info().GetPrimaryKeyId()
	switch {
	case c.RemoveOld:
		return c.removeOld(s, set)
	case newest != primary:
		return c.promote(s, set, newest)
	}
	return c.add(s, set)
}

// encrypt has the file be encrypted, and changes nothing else.
func (c *rotateKeys) encrypt(s *session, set *keysetFile) error {
	if err := set.write(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s is encrypted by %s. Next: have every process of messaging start with it and MESSAGING_KEYSET_KEK, and destroy what there is of the file before\n", c.File, c.KEK)
	return err
}

// add has the file have a key more, which wraps nothing yet.
func (c *rotateKeys) add(s *session, set *keysetFile) error {
	id, err := set.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("adding a key: %w", err)
	}
	if err := set.write(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, `key %d is in %s, and wraps nothing yet. Next:
  1. have every process of messaging read the file
  2. messagerie keys status        # until every process has key %d
  3. messagerie keys rotate %s     # makes it the one that wraps
`, id, c.File, id, c.File)
	return err
}

// promote has the newest key be the one that wraps, if every process can read what it wraps.
func (c *rotateKeys) promote(s *session, set *keysetFile, newest uint32) error {
	now, err := s.messaging.GetKeys(s.ctx, &messagingpb.GetKeysRequest{})
	if err != nil {
		return err
	}
	has := int32(0)
	for _, key := range now.GetKeys() {
		if key.GetId() == newest {
			has = key.GetProcesses()
		}
	}
	if all := now.GetFit().GetProcesses(); all == 0 || has < all {
		return fmt.Errorf("key %d is known to %d of %d processes: have the others read the file first; nothing was changed", newest, has, all)
	}
	if err := set.SetPrimary(newest); err != nil {
		return fmt.Errorf("making key %d primary: %w", newest, err)
	}
	if err := set.write(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, `key %d wraps, in %s. Next:
  1. have every process of messaging read the file
  2. messagerie keys status        # until every process wraps by key %d
  3. messagerie keys rewrap
  4. messagerie keys rotate --remove-old %s
`, newest, c.File, newest, c.File)
	return err
}

// removeOld has the file have the primary key alone, if nothing needs the others.
func (c *rotateKeys) removeOld(s *session, set *keysetFile) error {
	info := set.info()
	old := make(map[uint32]bool)
	for _, key := range info.GetKeyInfo() {
		if key.GetKeyId() != info.GetPrimaryKeyId() {
			old[key.GetKeyId()] = true
		}
	}
	if len(old) == 0 {
		return errors.New("the file has the primary key alone; nothing was changed")
	}
	now, err := s.messaging.GetKeys(s.ctx, &messagingpb.GetKeysRequest{})
	if err != nil {
		return err
	}
	wraps := false
	for _, key := range now.GetKeys() {
		switch {
		case key.GetId() == info.GetPrimaryKeyId():
			wraps = key.GetProcesses() == now.GetFit().GetProcesses() && key.GetProcesses() > 0
		case !old[key.GetId()]:
		case key.GetPrimaryOf() > 0:
			return fmt.Errorf("%d processes wrap by key %d: have them read the file first; nothing was changed", key.GetPrimaryOf(), key.GetId())
		case key.GetMemberKeys() > 0 || key.GetCheckValue():
			return fmt.Errorf("%d members' keys%s are wrapped by key %d: messagerie keys rewrap; nothing was changed",
				key.GetMemberKeys(), map[bool]string{true: " and the check value"}[key.GetCheckValue()], key.GetId())
		}
	}
	if !wraps {
		return fmt.Errorf("not every process has key %d, the primary one of the file; nothing was changed", info.GetPrimaryKeyId())
	}
	for id := range old {
		if err := set.Delete(id); err != nil {
			return fmt.Errorf("removing key %d: %w", id, err)
		}
	}
	if err := set.write(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "keys removed from %s: %d; have every process of messaging read it. A copy of the vault from before needs them: keep the file of before for as long as its backups.\n", c.File, len(old))
	return err
}

// keysetFile is a key set with where it is from.
type keysetFile struct {
	*keyset.Manager
	path string
	// kek encrypts it; nil: nothing does. encrypted is whether the file was when it was read.
	kek       tink.AEAD
	encrypted bool
}

// readKeyset reads a key set. Its error quotes nothing of it.
func readKeyset(path string, kek tink.AEAD) (*keysetFile, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := &keysetFile{path: path, kek: kek, encrypted: encrypted(content)}
	var handle *keyset.Handle
	switch reader := keyset.NewJSONReader(bytes.NewReader(content)); {
	case f.encrypted && kek == nil:
		return nil, errEncrypted
	case f.encrypted:
		if handle, err = keyset.Read(reader, kek); err != nil {
			return nil, fmt.Errorf("decrypting %s by the KMS: %w", path, err)
		}
	default:
		if handle, err = insecurecleartextkeyset.Read(reader); err != nil {
			return nil, fmt.Errorf("%s is no tink key set in JSON", path)
		}
	}
	for _, key := range handle.KeysetInfo().GetKeyInfo() {
		if key.GetOutputPrefixType() != tinkpb.OutputPrefixType_TINK || !strings.HasSuffix(key.GetTypeUrl(), "AesGcmKey") {
			return nil, fmt.Errorf("key %d of %s is no AES-GCM key with tink's prefix", key.GetKeyId(), path)
		}
	}
	f.Manager = keyset.NewManagerFromHandle(handle)
	return f, nil
}

func (f *keysetFile) info() *tinkpb.KeysetInfo {
	handle, err := f.Handle()
	if err != nil {
		return nil // of a key set that was read
	}
	return handle.KeysetInfo()
}

// newest is the key that was added last, of those that are enabled.
func (f *keysetFile) newest() (id uint32) {
	for _, key := range f.info().GetKeyInfo() {
		if key.GetStatus() == tinkpb.KeyStatusType_ENABLED {
			id = key.GetKeyId()
		}
	}
	return id
}

// write replaces the file, which is there whole at each moment: without a key of it, texts are
// lost.
func (f *keysetFile) write() error {
	handle, err := f.Handle()
	if err != nil {
		return fmt.Errorf("writing %s: %w", f.path, err)
	}
	var content bytes.Buffer
	if f.kek != nil {
		err = handle.Write(keyset.NewJSONWriter(&content), f.kek)
	} else {
		err = insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&content))
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", f.path, err)
	}
	if err := replace(f.path, content.Bytes()); err != nil {
		return fmt.Errorf("writing %s: %w", f.path, err)
	}
	return nil
}

// replace writes a file durably, with the mode of the one before.
func replace(path string, content []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	fresh, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // for its owner alone
	if err != nil {
		return err
	}
	_, err = fresh.Write(content)
	if err = errors.Join(err, fresh.Chmod(info.Mode().Perm()), fresh.Sync(), fresh.Close()); err == nil {
		err = os.Rename(fresh.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(fresh.Name()))
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
