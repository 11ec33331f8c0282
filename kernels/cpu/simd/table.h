// The table of one instruction set, from the templates before it. Included last by
// kernels_<isa>.cc, inside an anonymous namespace.

Kernels make_table() {
  Kernels k{};
  fill_quant<FormatQ4_0>(k.quant_gemm[kKindQ4_0]);
  fill_quant<FormatQ5_0>(k.quant_gemm[kKindQ5_0]);
  fill_quant<FormatQ8_0>(k.quant_gemm[kKindQ8_0]);
  fill_quant<FormatQ4K>(k.quant_gemm[kKindQ4K]);
  fill_quant<FormatQ5K>(k.quant_gemm[kKindQ5K]);
  fill_quant<FormatQ6K>(k.quant_gemm[kKindQ6K]);
  k.float_gemm[kKindF32] = float_tile<ElemF32>;
  k.float_gemm[kKindF16] = float_tile<ElemF16>;
  k.float_gemm[kKindBF16] = float_tile<ElemBF16>;
  k.quantize_token = quantize_token;
  k.rms_norm = rms_norm_row;
  k.rope_angles = rope_angles;
  k.rope_neox = rope_neox;
  k.silu_mul = silu_mul_range;
  k.add = add_range;
  k.to_half = to_half;
  k.attention = attention_tile;
  k.attention_join = attention_join;
  k.conv_token = conv_token;
  k.unit_length = unit_length;
  k.sigmoid_mul = sigmoid_mul_range;
  k.delta_rule = delta_tile;
  k.max_of = max_of_range;
  k.sum_exp = sum_exp_range;
  return k;
}
