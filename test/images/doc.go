// Package images tests the image service as hostile clients and dying processes meet it: a real API process, real stores,
// and clients that send what no well-meant client sends.
package images
