package images

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/imagesignature"
	"github.com/slipway-cloud/slipway/models"
)

func refused(t *testing.T, kind fault.Kind, err error) {
	t.Helper()
	require.True(t, fault.Is(err, kind), "%s was to come, not %v", kind, err)
}

// The order is Glance's: who may know of an image is decided before what is shown of it, that before what may be done, and
// a refusal by any of them is announced by nobody.
func TestTheLayersWrapEachOtherInGlancesOrder(t *testing.T) {
	t.Parallel()
	order := func(r Repository) []string {
		names := []string{}
		for r != nil {
			names = append(names, strings.TrimPrefix(fmt.Sprintf("%T", r), "*images."))
			switch layer := r.(type) {
			case *authorization:
				r = layer.Repository
			case *protection:
				r = layer.Repository
			case *policy:
				r = layer.Repository
			case *quota:
				r = layer.Repository
			case *room:
				r = layer.Repository
			default:
				r = nil
			}
		}
		return names
	}
	s := New(nil, nil, Config{}, nil)
	require.Equal(t, []string{"authorization", "protection", "policy", "quota", "room", "location"}, order(s.For(member)))
	require.Equal(t, []string{"quota", "room", "location"}, order(s.Internally(member)))
}

func rulesOf(t *testing.T, text string) *imagepolicy.Protections {
	t.Helper()
	rules, err := imagepolicy.ParseProtections(strings.NewReader(text))
	require.NoError(t, err)
	return rules
}

const secretsAreTheAdmins = "[^(secret_|img_signature)]\ncreate = admin\nread = admin\nupdate = admin\ndelete = admin\n\n[.*]\ncreate = @\nread = @\nupdate = @\ndelete = @\n"

func TestAProtectedPropertyIsHiddenAndKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Protections: rulesOf(t, secretsAreTheAdmins)})
	ctx := t.Context()
	made := w.queued(func(i *models.Image) { i.Properties = map[string]string{"secret_key": "s", "open": "o"} })
	mine := w.For(member)
	seen, err := mine.Get(ctx, made.ID)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"open": "o"}, seen.Properties)

	for _, filter := range []map[string]string{{"secret_key": "s"}, {"secret_key": "wrong"}} {
		found, err := mine.List(ctx, models.ImageFilter{Properties: filter})
		require.NoError(t, err)
		require.Empty(t, found, "what is hidden cannot be found out by asking for it")
	}
	found, err := mine.List(ctx, models.ImageFilter{Properties: map[string]string{"open": "o"}})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.NotContains(t, found[0].Properties, "secret_key")

	changed, err := mine.Save(ctx, seen, models.ImageUpdate{Properties: &map[string]string{"open": "changed"}})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"open": "changed"}, changed.Properties)
	require.Equal(t, map[string]string{"open": "changed", "secret_key": "s"}, w.now(made.ID).Properties, "what is not seen stays")

	before := w.everything()
	for _, properties := range []map[string]string{{"open": "x", "secret_other": "mine"}, {"secret_key": "mine"}} {
		_, err = mine.Save(ctx, changed, models.ImageUpdate{Properties: &properties})
		refused(t, fault.Forbidden, err)
	}
	_, err = mine.Add(ctx, draft(func(i *models.Image) { i.Properties = map[string]string{"secret_key": "s"} }))
	refused(t, fault.Forbidden, err)
	require.Equal(t, before, w.everything())

	stale, err := w.For(admin).Get(ctx, made.ID)
	require.NoError(t, err)
	name := "a name"
	_, err = mine.Save(ctx, changed, models.ImageUpdate{Name: &name})
	require.NoError(t, err)
	_, err = w.For(admin).Save(ctx, stale, models.ImageUpdate{Properties: &map[string]string{}})
	refused(t, fault.Conflict, err)
}

func TestAProjectsBytesStayWithinItsQuotaWhoeverRaces(t *testing.T) {
	t.Parallel()
	const each, fit, racers = 10_000, 5, 16
	w := newWorld(t, Config{ProjectBytes: fit*each + each/2})
	ctx := t.Context()
	var all sync.WaitGroup
	errs, images := make([]error, racers), make([]models.Image, racers)
	for n := range racers {
		images[n] = w.queued()
	}
	service := []*Service{w.Service, w.process()}
	for n := range racers {
		all.Go(func() {
			take := service[n%2].For(member).Upload
			if n%3 == 0 {
				take = service[n%2].For(member).Stage
			}
			_, errs[n] = take(ctx, images[n], bytesTo([]string{"local", "cold"}[n/2%2], noise(each)))
		})
	}
	all.Wait()
	taken := 0
	for n, err := range errs {
		now := w.now(images[n].ID)
		if err == nil {
			taken++
			continue
		}
		refused(t, fault.TooLarge, err)
		require.Equal(t, models.ImageQueued, now.Status)
		require.Empty(t, now.Locations)
		require.Nil(t, now.StagedStore)
	}
	require.Equal(t, fit, taken)
	used, err := w.rows.ImageUsage(ctx, mine)
	require.NoError(t, err)
	require.EqualValues(t, fit*each, used)
	e := w.everything()
	require.Equal(t, fit, len(e.Files)+len(e.Bucket), "%v %v", e.Files, e.Bucket)

	_, err = w.For(member).Upload(ctx, w.queued(), Data{Body: bytes.NewReader(nil), Length: each})
	refused(t, fault.TooLarge, err)
	theirs := w.queued(func(i *models.Image) { i.OwnerID = others })
	_, err = w.For(other).Upload(ctx, theirs, bytesTo("", noise(each)))
	require.NoError(t, err, "another project has its own")
}

func TestAnImageIsNoLargerThanIsAllowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{MaxBytes: 1000})
	i := w.queued()
	before := w.everything()
	for _, data := range []Data{
		{Body: bytes.NewReader(noise(1001)), Length: -1}, {Body: bytes.NewReader(noise(1001)), Length: 1001}, {Body: bytes.NewReader(noise(1001)), Length: 5},
		{Body: bytes.NewReader(noise(1001)), Length: -1, Store: "cold"},
	} {
		for _, take := range []func(models.Image, Data) (models.Image, error){
			func(i models.Image, d Data) (models.Image, error) { return w.For(member).Upload(t.Context(), i, d) },
			func(i models.Image, d Data) (models.Image, error) { return w.For(member).Stage(t.Context(), i, d) },
		} {
			_, err := data.Body.(io.Seeker).Seek(0, io.SeekStart)
			require.NoError(t, err)
			_, err = take(i, data)
			refused(t, fault.TooLarge, err)
			require.Equal(t, before, w.everything())
		}
	}
	_, err := w.For(member).Upload(t.Context(), i, bytesTo("", noise(1000)))
	require.NoError(t, err)
}

func TestEveryChangeIsToldOnceAndNoRefusal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{MaxBytes: 100_000})
	ctx, mineIs, bossIs := t.Context(), w.For(member), w.For(admin)
	seen := 0
	next := func() []string {
		all := w.told()
		news := all[seen:]
		seen = len(all)
		return news
	}
	image, err := mineIs.Add(ctx, draft())
	require.NoError(t, err)
	require.Equal(t, []string{"image.create queued u2 req-2"}, next())
	name := "a name"
	image, err = mineIs.Save(ctx, image, models.ImageUpdate{Name: &name})
	require.NoError(t, err)
	require.Equal(t, []string{"image.update queued u2 req-2"}, next())

	for what, refuse := range map[string]func() error{
		"a taken id":     func() error { _, err := mineIs.Add(ctx, image); return err },
		"a stale change": func() error { _, err := mineIs.Save(ctx, draft(), models.ImageUpdate{Name: &name}); return err },
		"a public one": func() error {
			v := "public"
			_, err := mineIs.Save(ctx, image, models.ImageUpdate{Visibility: &v})
			return err
		},
		"too much":         func() error { _, err := mineIs.Upload(ctx, image, bytesTo("", noise(100_001))); return err },
		"nothing":          func() error { _, err := mineIs.Upload(ctx, image, bytesTo("", nil)); return err },
		"an unknown store": func() error { _, err := mineIs.Upload(ctx, image, bytesTo("elsewhere", noise(10))); return err },
		"cut off": func() error {
			_, err := mineIs.Upload(ctx, image, Data{Body: bytes.NewReader(noise(10)), Length: 11})
			return err
		},
		"broken": func() error {
			_, err := mineIs.Upload(ctx, image, Data{Body: io.MultiReader(bytes.NewReader(noise(10)), broken{}), Length: -1})
			return err
		},
		"a reader's upload": func() error { _, err := w.For(reader).Upload(ctx, image, bytesTo("", noise(10))); return err },
		"a reader's delete": func() error { return w.For(reader).Remove(ctx, image) },
		"a member's switch": func() error { _, err := w.For(reader).Switch(ctx, image, models.ImageDeactivated); return err },
		"a queued switch":   func() error { _, err := bossIs.Switch(ctx, image, models.ImageDeactivated); return err },
		"the only store":    func() error { return bossIs.Drop(ctx, image, "local") },
		"no project":        func() error { _, err := mineIs.Share(ctx, image, "nobody"); return err },
		"no member":         func() error { return mineIs.Unshare(ctx, image, others) },
		"another's answer":  func() error { _, err := mineIs.Answer(ctx, image, others, "accepted"); return err },
	} {
		before := w.everything()
		require.Error(t, refuse(), what)
		require.Equal(t, before, w.everything(), what)
	}
	require.Empty(t, next())

	image, err = mineIs.Upload(ctx, image, bytesTo("", noise(1000)))
	require.NoError(t, err)
	require.Equal(t, []string{"image.upload active u2 req-2", "image.activate active u2 req-2"}, next())
	_, err = mineIs.Share(ctx, image, others)
	require.NoError(t, err)
	asTheySee, err := w.For(other).Get(ctx, image.ID)
	require.NoError(t, err)
	_, err = w.For(other).Answer(ctx, asTheySee, others, "accepted")
	require.NoError(t, err)
	require.NoError(t, mineIs.Unshare(ctx, image, others))
	require.Equal(t, []string{"image.member.create pending u2 req-2", "image.member.update accepted u4 req-4", "image.member.delete accepted u2 req-2"}, next())
	image, err = bossIs.Switch(ctx, w.now(image.ID), models.ImageDeactivated)
	require.NoError(t, err)
	require.Equal(t, []string{"image.deactivate deactivated u1 req-1"}, next())
	again, err := bossIs.Switch(ctx, image, models.ImageDeactivated)
	require.NoError(t, err)
	require.Equal(t, models.ImageDeactivated, again.Status)
	require.Empty(t, next(), "nothing changed")
	_, err = mineIs.Open(ctx, w.now(image.ID), 0, -1)
	refused(t, fault.Forbidden, err)
	image, err = bossIs.Switch(ctx, image, models.ImageActive)
	require.NoError(t, err)
	require.Equal(t, []string{"image.reactivate active u1 req-1"}, next())
	require.NoError(t, mineIs.Remove(ctx, image))
	require.Len(t, next(), 1)
	refused(t, fault.NotFound, mineIs.Remove(ctx, image))
	require.Empty(t, next())
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the line was cut") }

// signer has a certificate that is its own trust root.
type signer struct {
	key         *rsa.PrivateKey
	id          string
	certificate imagesignature.Certificates
}

func newSigner(t *testing.T) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "signer"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	dir, id := t.TempDir(), uuid.NewString()
	roots := filepath.Join(t.TempDir(), "roots.pem")
	write(t, roots, text)
	write(t, filepath.Join(dir, id+".pem"), text)
	folder, err := imagesignature.OpenFolder(dir, roots)
	require.NoError(t, err)
	return signer{key, id, folder}
}

func (s signer) sign(t *testing.T, data []byte) map[string]string {
	t.Helper()
	sum := sha256.Sum256(data)
	signature, err := rsa.SignPSS(rand.Reader, s.key, crypto.SHA256, sum[:], nil)
	require.NoError(t, err)
	return map[string]string{
		imagesignature.Signature: base64.StdEncoding.EncodeToString(signature), imagesignature.HashMethod: "SHA-256",
		imagesignature.KeyType: "RSA-PSS", imagesignature.CertificateUUID: s.id,
	}
}

// The properties of the signature are hidden from whoever uploads: they are enforced all the same.
func TestASignedImageIsActiveOnlyWithTheBytesThatWereSigned(t *testing.T) {
	t.Parallel()
	by, data := newSigner(t), noise(400_000)
	w := newWorld(t, Config{Certificates: by.certificate, Protections: rulesOf(t, secretsAreTheAdmins)})
	signed := func(change func(map[string]string)) models.Image {
		return w.queued(func(i *models.Image) {
			i.Properties = by.sign(t, data)
			if change != nil {
				change(i.Properties)
			}
		})
	}
	forged := bytes.Clone(data)
	forged[len(forged)-1] ^= 1
	for name, c := range map[string]struct {
		change func(map[string]string)
		data   []byte
	}{
		"other bytes":           {nil, forged},
		"fewer bytes":           {nil, data[:len(data)-1]},
		"another certificate":   {func(p map[string]string) { p[imagesignature.CertificateUUID] = uuid.NewString() }, data},
		"half of it":            {func(p map[string]string) { delete(p, imagesignature.KeyType) }, data},
		"another's signature":   {func(p map[string]string) { maps.Copy(p, newSigner(t).sign(t, data)) }, data},
		"another hash":          {func(p map[string]string) { p[imagesignature.HashMethod] = "SHA-512" }, data},
		"a signature of no use": {func(p map[string]string) { p[imagesignature.Signature] = "bm8=" }, data},
	} {
		t.Run(name, func(t *testing.T) {
			for _, store := range []string{"local", "cold"} {
				i := signed(c.change)
				before := w.everything()
				seen, err := w.For(member).Get(t.Context(), i.ID)
				require.NoError(t, err)
				require.Empty(t, seen.Properties, "the uploader sees none of it")
				_, err = w.For(member).Upload(t.Context(), seen, bytesTo(store, c.data))
				refused(t, fault.Invalid, err)
				require.Equal(t, before, w.everything(), "the image is queued and has no bytes")
				if c.change == nil {
					got, err := w.For(member).Upload(t.Context(), seen, bytesTo(store, data))
					require.NoError(t, err, "the right bytes are taken then")
					require.Equal(t, models.ImageActive, got.Status)
				}
			}
		})
	}
	without := New(w.rows, w.Stores(), Config{MaxBytes: w.config.MaxBytes}, nil)
	_, err := without.For(admin).Upload(t.Context(), signed(nil), bytesTo("", data))
	refused(t, fault.Invalid, err)
}

func TestAnImageLeavesOneOfItsStores(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	ctx, data := t.Context(), noise(10_000)
	i := w.active("local", data)
	refused(t, fault.Forbidden, w.For(admin).Drop(ctx, i, "local"))
	refused(t, fault.NotFound, w.For(admin).Drop(ctx, i, "cold"))
	refused(t, fault.Conflict, w.For(admin).Drop(ctx, i, "elsewhere"))
	w.reads(i, data)

	cold := w.store("cold")
	up, err := cold.Create(ctx, i.ID)
	require.NoError(t, err)
	_, err = up.Write(data)
	require.NoError(t, err)
	require.NoError(t, up.Commit(*i.SHA512))
	require.NoError(t, up.Close())
	i, err = w.rows.AddImageLocation(ctx, i.ID, models.ImageLocation{Store: "cold", URL: cold.Location(i.ID)}, 0)
	require.NoError(t, err)
	used, err := w.rows.ImageUsage(ctx, mine)
	require.NoError(t, err)
	require.EqualValues(t, 2*len(data), used, "each place counts")

	require.NoError(t, w.For(admin).Drop(ctx, i, "local"))
	e := w.everything()
	require.Empty(t, e.Files)
	require.Equal(t, []string{i.ID}, e.Bucket)
	w.reads(w.now(i.ID), data)
	refused(t, fault.Forbidden, w.For(admin).Drop(ctx, w.now(i.ID), "cold"))
}

func TestAnImageWithAsManyPropertiesAsMayBeCanStillBeChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	ctx := t.Context()
	i := w.queued(func(d *models.Image) {
		for n := range maxProperties {
			d.Properties[fmt.Sprint("p", n)] = "x"
		}
	})
	whole := maps.Clone(i.Properties)
	whole["os_glance_importing_to_stores"] = "" // what an import leaves
	i, err := w.rows.UpdateImage(ctx, i.ID, models.ImageUpdate{Properties: &whole})
	require.NoError(t, err)
	name := "renamed"
	i, err = w.For(member).Save(ctx, i, models.ImageUpdate{Name: &name, Properties: &whole})
	require.NoError(t, err)
	more := maps.Clone(whole)
	more["one_more"] = "x"
	_, err = w.For(member).Save(ctx, i, models.ImageUpdate{Properties: &more})
	refused(t, fault.TooLarge, err)
	delete(whole, "p1")
	_, err = w.For(member).Save(ctx, i, models.ImageUpdate{Properties: &whole})
	require.NoError(t, err)
}

func TestWhatWasVerifiedIsWhatIsShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	i := w.active("local", noise(1000))
	signed := map[string]string{"img_signature": "c2lnbmVkIGJ5IG5vYm9keQ=="}
	_, err := w.For(member).Save(t.Context(), i, models.ImageUpdate{Properties: &signed})
	refused(t, fault.Forbidden, err)
}
