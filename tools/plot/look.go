package main

import (
	"bytes"
	"image/color"
	"math"
	"strconv"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A picture has a background of its own: it is to be read on a light page and
// on a dark one.
func paper() color.Color { return color.White }

func ink() color.Color { return grey(0x30) }

func pale() color.Color { return grey(0xdd) }

func grey(y uint8) color.Color { return color.RGBA{y, y, y, 0xff} }

const ours = "fantail"

// colourOf gives a broker its colour: ours stands out.
func colourOf(broker string, i int) color.Color {
	switch broker {
	case ours:
		return color.RGBA{0xd9, 0x4f, 0x04, 0xff}
	case "mosquitto":
		return color.RGBA{0x3c, 0x5a, 0x80, 0xff}
	case "floor":
		return grey(0xb0)
	}
	others := []color.Color{
		color.RGBA{0x5f, 0xa8, 0xa0, 0xff},
		color.RGBA{0x9b, 0x7f, 0xb8, 0xff},
		color.RGBA{0xb8, 0x9a, 0x3c, 0xff},
		color.RGBA{0x7f, 0x8f, 0x5a, 0xff},
	}
	return others[i%len(others)]
}

// sheet is an empty plot in our style.
func sheet(title string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = paper()
	p.Title.Text = title
	p.Title.TextStyle = words(9, text.XCenter, text.YTop)
	p.Title.Padding = 4
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color = pale()
		a.Label.TextStyle.Font = sans(8)
		a.Label.TextStyle.Color = ink()
		a.Tick.Label.Font = sans(8)
		a.Tick.Label.Color = ink()
		a.Tick.Color = pale()
		a.Tick.Length = 3
	}
	return p
}

func sans(size vg.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
}

// words is a style of text.
func words(size vg.Length, x text.XAlignment, y text.YAlignment) text.Style {
	return text.Style{Color: ink(), Font: sans(size), XAlign: x, YAlign: y, Handler: plot.DefaultTextHandler}
}

// logarithmic makes an axis that is marked at some points of each decade.
func logarithmic(a *plot.Axis, marks ...float64) {
	a.Scale = plot.LogScale{}
	a.Tick.Marker = decades(marks)
}

// decades marks nothing outside an axis, for which the plot would make room.
type decades []float64

func (marks decades) Ticks(least, most float64) []plot.Tick {
	var list []plot.Tick
	for power := -3; power <= 9; power++ {
		for _, mark := range marks {
			if v := mark * math.Pow10(power); v >= least && v <= most {
				list = append(list, plot.Tick{Value: v, Label: spoken(v)})
			}
		}
	}
	return list
}

func spoken(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', -1, 64) + " million"
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'f', -1, 64) + ",000"
	default:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
}

func fill(c *draw.Canvas, with color.Color, r vg.Rectangle) {
	c.FillPolygon(with, []vg.Point{r.Min, {X: r.Max.X, Y: r.Min.Y}, r.Max, {X: r.Min.X, Y: r.Max.Y}})
}

// page is a picture with a margin.
type page struct {
	canvas *vgsvg.Canvas
	rest   draw.Canvas // what is still empty
}

func newPage(width, height vg.Length) *page {
	c := vgsvg.New(width, height)
	whole := draw.New(c)
	fill(&whole, paper(), whole.Rectangle)
	return &page{c, draw.Crop(whole, 12, -12, 8, -8)}
}

// write puts down what is around the plots: title, legend and source.
func (s *page) write(title string, brokers []string, source string) {
	c := &s.rest
	bold := words(11, text.XLeft, text.YTop)
	bold.Font.Weight = xfont.WeightBold
	c.FillText(bold, vg.Point{X: c.Min.X, Y: c.Max.Y}, title)
	small := words(7.5, text.XLeft, text.YBottom)
	c.FillText(small, c.Min, source)
	legend := words(9, text.XLeft, text.YCenter)
	at := vg.Point{X: c.Min.X, Y: c.Max.Y - 24}
	for i, name := range brokers {
		fill(c, colourOf(name, i), vg.Rectangle{Min: at.Sub(vg.Point{Y: 3}), Max: at.Add(vg.Point{X: 14, Y: 3})})
		at.X += 18
		c.FillText(legend, at.Add(vg.Point{Y: lift}), name)
		at.X += legend.Width(name) + 16
	}
	s.rest = draw.Crop(s.rest, 0, 0, 14, -34)
}

// svg is the file. Text stays text; a machine without the font takes one that
// is as wide.
func (s *page) svg() ([]byte, error) {
	var b bytes.Buffer
	if _, err := s.canvas.WriteTo(&b); err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"),
		[]byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")), nil
}
