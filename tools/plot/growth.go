package main

import (
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// drawGrowth shows CPU seconds per million deliveries on each ladder, on one
// scale: a line as steep as another is as bad.
func drawGrowth(r *results) ([]byte, error) {
	ladders := append(r.ladders("connections"), r.ladders("filters")...)
	brokers := ladders[0].brokers()
	plots := make([]*plot.Plot, len(ladders))
	least, most := math.Inf(1), 0.0
	for i, t := range ladders {
		p := sheet(t.subject())
		grid := plotter.NewGrid()
		grid.Vertical.Color, grid.Horizontal.Color = nil, pale()
		p.Add(grid)
		for k, name := range brokers {
			if err := climb(p, &t, name, colourOf(name, k)); err != nil {
				return nil, err
			}
		}
		if err := figures(p, &t); err != nil {
			return nil, err
		}
		plots[i] = p
		least, most = min(least, p.Y.Min), max(most, p.Y.Max)
	}
	s := newPage(630, 300)
	s.write("CPU seconds that a million messages cost, the more there is of something else", brokers,
		"All scales logarithmic. "+r.source())
	width := (s.rest.Max.X - s.rest.Min.X) / vg.Length(len(plots))
	for i, p := range plots {
		logarithmic(&p.X, 1)
		logarithmic(&p.Y, 1, 2, 5)
		p.X.Min, p.X.Max = p.X.Min/1.5, p.X.Max*1.5
		p.Y.Min, p.Y.Max = least/1.8, most*1.3
		p.Draw(draw.Crop(s.rest, width*vg.Length(i), width*vg.Length(i+1)-(s.rest.Max.X-s.rest.Min.X), 0, 0))
	}
	return s.svg()
}

// subject says what grows on a ladder, and how fast messages come.
func (t *table) subject() string {
	name, _, _ := strings.Cut(t.title, ":")
	pace := name[strings.LastIndex(name, "-")+1:]
	if pace == "closed" {
		return t.head[0] + ", saturated"
	}
	return t.head[0] + ", " + pace + " messages/s"
}

// climb draws the line of a broker on a ladder; none where it was not measured.
func climb(p *plot.Plot, t *table, broker string, c color.Color) error {
	points, err := t.points(broker)
	if err != nil || len(points) == 0 {
		return err
	}
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	line.Color, line.Width = c, 1.6
	dots.Color, dots.Shape, dots.Radius = c, draw.CircleGlyph{}, 2.2
	p.Add(line, dots)
	return nil
}

// points are what was measured of a broker on a ladder.
func (t *table) points(broker string) (plotter.XYs, error) {
	sizes, err := t.column(t.head[0])
	if err != nil {
		return nil, err
	}
	values, err := t.column(broker)
	if err != nil {
		return nil, err
	}
	var points plotter.XYs
	for i, v := range values {
		if v > 0 {
			points = append(points, plotter.XY{X: sizes[i], Y: v})
		}
	}
	return points, nil
}

// figures adds ours, in a row below all lines: at the points they would stand
// on the lines of others.
func figures(p *plot.Plot, t *table) error {
	if !slices.Contains(t.brokers(), ours) {
		return nil
	}
	points, err := t.points(ours)
	if err != nil {
		return err
	}
	style := words(7.5, text.XCenter, text.YBottom)
	style.Color = colourOf(ours, 0)
	p.Add(row{points, style})
	return nil
}

// row writes values at the foot of a plot.
type row struct {
	points plotter.XYs
	style  text.Style
}

func (r row) Plot(c draw.Canvas, p *plot.Plot) {
	toX, _ := p.Transforms(&c)
	for _, at := range r.points {
		c.FillText(r.style, vg.Point{X: toX(at.X), Y: c.Min.Y + 1}, figure(at.Y))
	}
}
