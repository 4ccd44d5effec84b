package libvirt

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPicturesAreReadAsQEMUWritesThem(t *testing.T) {
	picture, err := decodePicture([]byte("P6\n2 1\n255\n\x0a\x14\x1e\xff\x00\x7f"))
	require.NoError(t, err)
	require.Equal(t, image.Rect(0, 0, 2, 1), picture.Bounds())
	require.Equal(t, color.RGBA{10, 20, 30, 255}, picture.At(0, 0))
	require.Equal(t, color.RGBA{255, 0, 127, 255}, picture.At(1, 0))
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, picture))
	again, err := decodePicture(b.Bytes())
	require.NoError(t, err)
	require.Equal(t, picture.Bounds(), again.Bounds())
	for _, bad := range []string{
		"", "P6", "P6\n", "P6\n2 1\n255\n\x01", "P6\n2 1\n65535\n" + string(make([]byte, 12)), "P6\n0 1\n255\n", "P6\n-1 1\n255\n", "P6\n99999999 99999999\n255\n", "P6\n4096 4096\n255\n" + string(make([]byte, 3<<24)),
		"P5\n1 1\n255\n\x00",
	} {
		_, err := decodePicture([]byte(bad))
		require.Error(t, err, "%.40q", bad)
	}
}

func TestAPictureThatIsTooLargeIsNotTaken(t *testing.T) {
	b := bounds{most: 3}
	_, err := b.Write([]byte("abc"))
	require.NoError(t, err)
	_, err = b.Write([]byte("d"))
	require.Error(t, err)
}
